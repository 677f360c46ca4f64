"""The way to a server and back: addresses, requests as tensors, gRPC and HTTP, retries."""
