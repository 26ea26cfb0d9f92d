"""Loops compiled with numba. The packages that call them explain what they compute and check their arguments."""
