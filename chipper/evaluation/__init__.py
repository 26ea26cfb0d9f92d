"""Evaluate detections and proposals with the COCO metrics."""
