"""Read and check COCO files, and convert them to columns."""
