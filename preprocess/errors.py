"""The one error a caller of `preprocess` has to expect: this recording or this option cannot be used."""


class RecordingError(ValueError):
    """A recording or an option is refused.

    The message is one sentence for the person who sent it: what was wrong, with the value, and what would
    be accepted. The Triton steps pass it on as INVALID_ARGUMENT.
    """


class Undecodable(RecordingError):
    """The bytes are not audio, or not in a codec that is decoded."""
