"""What a user of `python -m export` can do wrong; shown as one line, without a traceback."""


class ExportError(Exception):
    """An export that cannot be done, in one sentence with the value that is wrong and the remedy."""


class CheckpointError(ExportError):
    """A checkpoint that cannot be read or is not one of the known networks."""


class HubError(ExportError):
    """A checkpoint that could not be fetched from the hub."""
