"""COCO's numbers for detections and proposals."""
