"""Read and write proposal files of four formats, and make proposals by selective search."""
