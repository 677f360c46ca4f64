"""Benchmarks: compare the running server with the articles' pipelines and with a plain Triton."""
