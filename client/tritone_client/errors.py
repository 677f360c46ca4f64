"""Exceptions: one class per cause that a user can see, and the texts by which Triton reports each.

A transport raises `Failure` with Triton's status and text. `is_curable` decides whether the same call may succeed
a moment later; `explain` turns the failure into the exception that the user sees.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from tritone_client.plain import plain

MAX_ANSWER = 256 << 20  # bytes; twice the frame embeddings of ten minutes, the longest speech allowed
TOO_LARGE = f"larger than the limit of {MAX_ANSWER >> 20} MB"
LONGEST = 2000  # characters of the server's text that are kept: an error is one sentence


class TritoneError(Exception):
    """Base class of all errors of this package; the message is one sentence that says what to do."""


class InvalidUrl(TritoneError):
    """The server's address, or its TLS files, cannot be used."""


class InvalidRecording(TritoneError):
    """The recording, or an option sent with it, was rejected; sending it again would fail again.

    Attributes
    ----------
    code : the reason: "undecodable", "limit", "too_short", "silent", "option", "unexplained" (the server has no
        network for `explain`), "input" (tensors that do not fit together), "recording" (any other).
    """

    def __init__(self, message: str, code: str = "recording") -> None:
        super().__init__(message)
        self.code = code


class UnknownModel(TritoneError):
    """The server has no system of this name, or another method asks it."""


class ServerUnavailable(TritoneError):
    """No server answers at the address, or it was still (re)loading the model when the time ran out."""


class ServerBusy(TritoneError):
    """The server's queue was full at every attempt."""


class DeadlineExceeded(TritoneError):
    """The server accepted the recording but did not answer in time."""


class InferenceFailed(TritoneError):
    """The server failed on a recording that it had accepted, or its answer is malformed."""


class InvalidLabels(TritoneError):
    """Labelled recordings, or the options for them, cannot be used."""


class InvalidResults(TritoneError):
    """The file of a bulk run cannot be searched (it has no embeddings, for example), or not by this embedding."""


class OutputFailed(TritoneError):
    """The command could not write to the given path."""


class Failure(Exception):
    """A failed call: the name of a gRPC status, such as `UNAVAILABLE`, and the text that came with it."""

    def __init__(self, status: str, text: str) -> None:
        self.status = status
        self.text = text[:LONGEST]
        super().__init__(f"{status}: {self.text}")


# Temporary failures, as Triton 2.51 (24.10) and gRPC word them: status, pattern, when it occurs.
# Any other failure is final: the same call would fail again.
CURABLE = [
    ("UNAVAILABLE", r"Exceeds maximum queue size", "more requests are waiting than the model's queue admits"),
    ("INTERNAL", r"Stub process '.*' is not healthy", "a Python step died; its supervisor is about to reload it"),
    ("NOT_FOUND", r"has no available versions", "the model, or a step of the ensemble, is being reloaded"),
    ("UNAVAILABLE", r"(?s)^(?!.*certificate)", "connection refused or lost: the server restarts"),
]

# A model that exists but is not one of Tritone's systems: a step of one, or something else.
FOREIGN_MODEL = re.compile(r"unexpected inference (in|out)put|expected \d+ inputs? but got")

WRAPPING = re.compile(
    r"^(in ensemble '[^']*', |\[request id: [^]]*\] "
    r"|failed to connect to all addresses; last error: [A-Z]+: \S+: |Failed to connect to remote host: "
    r"|Failed to process the request\(s\) for model (instance )?'[^']*', message: |TritonModelException: )+"
)


CODE = re.compile(r"^(.*?)(?: \[([a-z_]+)\])?$")
"""An error message of the server's steps, followed by the code of the reason in brackets."""

UNKNOWN = re.compile(r"^OPTIONS: .*?'([^']*)' is unknown; choose (?:from|one of) (.*)\.$")
"""The sentence of the server's steps about an unknown option or value, with the list of those that exist."""


def is_curable(failure: Failure) -> bool:
    """Return whether the failure is temporary, so that a later attempt may succeed."""
    return any(failure.status == status and re.search(text, failure.text, re.I) for status, text, _ in CURABLE)


def sentence(text: str) -> str:
    """Return Triton's error text without its prefixes (ensemble, request id, model instance) and traceback."""
    return WRAPPING.sub("", text.strip()).split("\n", 1)[0].strip()


def with_suggestion(text: str) -> str:
    """Return the server's sentence about an unknown option or value, with the most similar one that it lists."""
    if found := UNKNOWN.search(text):
        word, listed = found.groups()
        if similar := get_close_matches(word, listed.split(", "), 1):
            return text.replace(" is unknown;", f" is unknown (did you mean '{similar[0]}'?);", 1)
    return text


def explain(failure: Failure, *, url: str, model: str, seconds: float) -> TritoneError:
    """Return the exception for a failure that ended a call to `model` at `url` after `seconds`."""
    message = sentence(failure.text)
    clause = message.rstrip(".")
    if failure.status == "NOT_FOUND" and not is_curable(failure):
        return UnknownModel(f"The server at {url} has no model '{model}': `tritone models` lists what it serves.")
    if FOREIGN_MODEL.search(message):
        return UnknownModel(
            f"Model '{model}' takes no recordings ({clause}): `tritone models` lists the systems that do."
        )
    if failure.status == "INVALID_ARGUMENT":
        text, code = CODE.findall(message)[0]
        return InvalidRecording(with_suggestion(text), code or "recording")
    if failure.status == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(
            f"No answer from {url} within {seconds:.1f} s: increase `timeout`, or send less at once."
        )
    if failure.status == "UNAVAILABLE" and re.search("queue|timeout expired", message):
        return ServerBusy(f"The server at {url} was still busy after {seconds:.1f} s ({clause}): try again later.")
    if failure.status == "UNAVAILABLE":
        advice = "check that it runs and that the address is right."
        if "refused" in message:
            advice = "start it with `make serve`, which takes about half a minute, or correct the address."
        return ServerUnavailable(f"No server can be reached at {url} ({clause}): {advice}")
    if failure.status == "CANCELLED":
        return InferenceFailed(f"The call to {url} was cancelled ({clause}): try again.")
    if failure.status == "RESOURCE_EXHAUSTED" and "larger than max" in message:
        return InferenceFailed(f"The answer from {url} is {TOO_LARGE}: send a shorter recording, or request less.")
    if is_curable(failure):
        return ServerUnavailable(
            f"Model '{model}' at {url} was not ready after {seconds:.1f} s ({clause}): try again."
        )
    return InferenceFailed(f"The server at {url} failed on this request ({clause}): see its log for details.")


@contextmanager
def reading_answer() -> Iterator[None]:
    """Turn exceptions that are raised while a server's answer is read into `InferenceFailed`."""
    try:
        yield
    except (TritoneError, Failure):
        raise
    except Exception as error:  # tritonclient, NumPy and json raise anything on malformed bytes
        raise InferenceFailed(
            f"The server's answer cannot be read ({type(error).__name__}: {plain(error):.200}): "
            "client and server must have the same version."
        ) from error
