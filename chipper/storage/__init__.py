"""Files that appear whole or not at all, the lock of a workdir, and places that may be URLs."""
