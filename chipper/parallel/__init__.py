"""Threads, worker processes and dask clusters, and progress messages."""
