"""The companion trainer: a thin Faster-RCNN on torchvision's parts. The only package of chipper that imports torch."""
