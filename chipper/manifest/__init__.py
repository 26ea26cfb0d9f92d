"""The tables of a workdir: building, mining, reading and checking them."""
