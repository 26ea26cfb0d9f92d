"""Whole images at each scale, without torch: what is looked at, which boxes count, how scales are merged."""
