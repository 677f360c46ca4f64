"""Converts weights to the networks that Triton loads: checkpoint -> nn.Module -> ONNX -> `model_repository/`."""
