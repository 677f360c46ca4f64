"""Errors that users of `python -m export` can fix; shown as one line, without a traceback."""


class ExportError(Exception):
    """An export is impossible; the message is one sentence with the wrong value and the remedy."""


class CheckpointError(ExportError):
    """A checkpoint cannot be read or is not one of the known networks."""


class HubError(ExportError):
    """A checkpoint could not be fetched from the hub."""
