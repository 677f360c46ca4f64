"""The exception of this package that users see."""


class ServerError(Exception):
    """Triton cannot be started or kept running; the message is one sentence that says what to do."""
