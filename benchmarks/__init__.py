"""Benchmarks: each prints a ratio measured in the same run. `make bench` runs all of them."""
