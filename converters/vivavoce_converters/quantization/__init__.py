"""A float32 ONNX model becomes an INT8 one."""
