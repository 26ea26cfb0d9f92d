"""Import VOC, YOLO, DOTA and VisDrone as COCO, and export chips as COCO or YOLO."""
