"""A best.pt as a file of other programs: YOLOv5's own, and ONNX."""
