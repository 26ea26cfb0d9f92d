"""SNIPER's rules as pure functions from columns to columns: which windows become chips, and which labels they get."""
