"""Errors that callers of `preprocess` must expect: the recording or an option cannot be used."""


class RecordingError(ValueError):
    """A recording or an option is rejected.

    The message is one sentence for the sender: what is wrong, with the value, and what would be accepted. `code`
    is the kind of error, for programs. The Triton steps return both as INVALID_ARGUMENT.
    """

    code = "recording"


class Undecodable(RecordingError):
    """The bytes are not audio, or their codec is not supported."""

    code = "undecodable"


class BeyondLimit(RecordingError):
    """The recording exceeds a limit of size, length or cost."""

    code = "limit"


class TooShort(RecordingError):
    """The recording is too short for an answer."""

    code = "too_short"


class Silent(RecordingError):
    """The recording contains no sound."""

    code = "silent"


class OptionError(RecordingError):
    """An option is unknown, or its value is not accepted."""

    code = "option"
