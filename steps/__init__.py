"""What the `model.py` files consist of: Triton tensors <-> functions of preprocess/ and postprocess/."""
