"""Numba loops and nothing else; what they compute is explained, checked and called from the other packages."""
