"""The bundle's network in a runtime: ONNX Runtime or TensorRT, and what each machine can open."""
