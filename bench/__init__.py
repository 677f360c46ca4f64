"""Benchmarks of the running server, and the demonstration; both start the embedded server themselves."""
