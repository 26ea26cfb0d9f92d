"""A COCO file becomes columns."""
