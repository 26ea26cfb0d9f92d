"""SNIPER's rules as pure functions, columns in and columns out: which windows are chips, and which labels they get."""
