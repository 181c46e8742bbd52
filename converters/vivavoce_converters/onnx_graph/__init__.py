"""An ONNX graph that is read and rewritten."""
