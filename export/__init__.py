"""Checkpoint -> nn.Module -> ONNX -> `model_repository/`; run as `python -m export`."""
