"""Threads, worker processes and dask clusters, and the progress that they report."""
