"""What systems answer: the output tensors of a server, checked and read into predictions."""
