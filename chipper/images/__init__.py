"""An image file becomes pixels."""
