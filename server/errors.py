"""The one exception of this folder."""


class ServerError(Exception):
    """Triton cannot be started or kept alive; the message is one sentence that says what to do."""
