"""The ONNX graph of a model, and its parity."""
