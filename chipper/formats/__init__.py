"""Convert other formats: import VOC, YOLO, DOTA and VisDrone as COCO; export chips as COCO or YOLO."""
