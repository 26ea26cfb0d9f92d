"""The tables of a workdir: build, mine, read and check them."""
