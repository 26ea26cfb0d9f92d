"""Atomic file writes, the lock of a workdir, and locations that are folders or URLs."""
