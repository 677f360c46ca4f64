"""The exception of the benchmarks."""


class BenchError(RuntimeError):
    """A benchmark cannot run; the message says why and what to do."""
