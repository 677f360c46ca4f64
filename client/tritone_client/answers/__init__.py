"""The answers of systems: a server's output tensors, checked and parsed into predictions."""
