"""Benchmarks: measure the running server, beside the articles' pipelines and beside a plain Triton."""
