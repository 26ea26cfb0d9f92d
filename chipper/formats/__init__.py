"""Other formats in and out: VOC, YOLO, DOTA and VisDrone become COCO; chips become COCO or YOLO."""
