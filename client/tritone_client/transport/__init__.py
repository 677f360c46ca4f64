"""The connection to a server: addresses, requests as tensors, gRPC and HTTP, retries."""
