"""The errors that a caller of `preprocess` has to expect: this recording or this option cannot be used."""


class RecordingError(ValueError):
    """A recording or an option is refused.

    The message is one sentence for the person who sent it: what was wrong, with the value, and what would
    be accepted; `code` is the kind of refusal, for programs. The Triton steps pass both on as INVALID_ARGUMENT.
    """

    code = "recording"


class Undecodable(RecordingError):
    """The bytes are not audio, or not in a codec that is decoded."""

    code = "undecodable"


class BeyondLimit(RecordingError):
    """The recording is larger, longer or costlier than what is accepted."""

    code = "limit"


class TooShort(RecordingError):
    """The recording is shorter than what can be answered."""

    code = "too_short"


class Silent(RecordingError):
    """There is nothing to hear."""

    code = "silent"


class OptionError(RecordingError):
    """An option is not known, or its value is not accepted."""

    code = "option"
