"""What stops a benchmark."""


class BenchError(RuntimeError):
    """Something is missing or failed; the message says what and what to do."""
