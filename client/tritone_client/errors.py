"""What can go wrong: one exception class per cause that a user can see, and Triton's texts behind each.

A transport raises `Failure`, which is what Triton said. `is_curable` tells whether the same call may succeed a
moment later; `explain` turns the failure into the exception that the user gets.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tritone_client.plain import plain

MAX_ANSWER = 256 << 20  # bytes; embeddings of the frames of ten minutes, the longest speech there is, take half
TOO_LARGE = f"larger than the {MAX_ANSWER >> 20} MB that are taken"


LONGEST = 2000  # characters of what a server said that are kept: an error is a sentence


class TritoneError(Exception):
    """Root of all errors of this package; the message is one sentence that says what to do."""


class InvalidUrl(TritoneError):
    """The server's address, or its TLS files, cannot be used."""


class InvalidRecording(TritoneError):
    """The recording, or an option sent with it, was refused; sending it again would be refused again.

    Attributes
    ----------
    code : the kind of refusal: "undecodable", "limit", "too_short", "silent", "option", "unexplained" (the server
        serves no network for `explain`), "input" (tensors that do not belong together), "recording" (another)
    """

    def __init__(self, message: str, code: str = "recording") -> None:
        super().__init__(message)
        self.code = code


class UnknownModel(TritoneError):
    """The server does not serve a system of this name that does what it was asked for."""


class ServerUnavailable(TritoneError):
    """No server answers at the address, or it was still (re)loading the model when the time was over."""


class ServerBusy(TritoneError):
    """The server's queue was full at every attempt."""


class DeadlineExceeded(TritoneError):
    """The server took the recording but did not answer in time."""


class InferenceFailed(TritoneError):
    """The server failed on a recording that it had accepted, or gave an answer that is none."""


class InvalidLabels(TritoneError):
    """Labelled recordings, or what is to be done with them, cannot be used."""


class InvalidResults(TritoneError):
    """The file of a bulk run cannot be searched, such as one without embeddings, or by this embedding."""


class OutputFailed(TritoneError):
    """The command could not write an answer where it was told to."""


class Failure(Exception):
    """What a transport met: a gRPC status name such as `UNAVAILABLE`, and the text that came with it."""

    def __init__(self, status: str, text: str) -> None:
        self.status = status
        self.text = text[:LONGEST]
        super().__init__(f"{status}: {self.text}")


# Failures that cure themselves, as Triton 2.51 (24.10) and gRPC word them: status, pattern, when it is seen.
# Any other failure is final: the same call would fail again.
CURABLE = [
    ("UNAVAILABLE", r"Exceeds maximum queue size", "more requests are waiting than the model's queue admits"),
    ("INTERNAL", r"Stub process '.*' is not healthy", "a Python step died; its supervisor is about to reload it"),
    ("NOT_FOUND", r"has no available versions", "the model, or a step of the ensemble, is being reloaded"),
    ("UNAVAILABLE", r"(?s)^(?!.*certificate)", "connection refused or lost: the server restarts"),
]

# A model that exists but is none of Tritone's systems: a step of one, or something else altogether.
FOREIGN_MODEL = re.compile(r"unexpected inference (in|out)put|expected \d+ inputs? but got")

WRAPPING = re.compile(
    r"^(in ensemble '[^']*', |\[request id: [^]]*\] "
    r"|failed to connect to all addresses; last error: [A-Z]+: \S+: |Failed to connect to remote host: "
    r"|Failed to process the request\(s\) for model (instance )?'[^']*', message: |TritonModelException: )+"
)


CODE = re.compile(r"^(.*?)(?: \[([a-z_]+)\])?$")
"""A sentence of the server's steps, and the code of the refusal behind it."""


def is_curable(failure: Failure) -> bool:
    """Whether a later attempt may succeed where this one failed."""
    return any(failure.status == status and re.search(text, failure.text, re.I) for status, text, _ in CURABLE)


def sentence(text: str) -> str:
    """Triton's error text without its wrapping (ensemble, request id, model instance) and without traceback."""
    return WRAPPING.sub("", text.strip()).split("\n", 1)[0].strip()


def explain(failure: Failure, *, url: str, model: str, seconds: float) -> TritoneError:
    """The exception for a failure that ended a call to `model` at `url` after `seconds`."""
    said = sentence(failure.text)
    clause = said.rstrip(".")
    if failure.status == "NOT_FOUND" and not is_curable(failure):
        return UnknownModel(f"The server at {url} has no model '{model}': `tritone models` lists what it serves.")
    if FOREIGN_MODEL.search(said):
        return UnknownModel(
            f"Model '{model}' takes no recordings ({clause}): `tritone models` lists those that do."
        )
    if failure.status == "INVALID_ARGUMENT":
        message, code = CODE.findall(said)[0]
        return InvalidRecording(message, code or "recording")
    if failure.status == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(
            f"No answer from {url} within {seconds:.1f} s: allow more with `timeout`, or send less at once."
        )
    if failure.status == "UNAVAILABLE" and re.search("queue|timeout expired", said):
        return ServerBusy(f"The server at {url} was still full after {seconds:.1f} s ({clause}): try again later.")
    if failure.status == "UNAVAILABLE":
        return ServerUnavailable(
            f"No server can be reached at {url} ({clause}): is it started, is the address right?"
        )
    if failure.status == "CANCELLED":
        return InferenceFailed(f"The call to {url} was ended ({clause}): ask again.")
    if failure.status == "RESOURCE_EXHAUSTED" and "larger than max" in said:
        return InferenceFailed(f"The answer from {url} is {TOO_LARGE}: send a shorter recording, or ask for less.")
    if is_curable(failure):
        return ServerUnavailable(
            f"Model '{model}' at {url} was not ready after {seconds:.1f} s ({clause}): try again."
        )
    return InferenceFailed(f"The server at {url} failed on this request ({clause}): its log says more.")


@contextmanager
def reading_answer() -> Iterator[None]:
    """Turn what goes wrong while a server's answer is read into `InferenceFailed`."""
    try:
        yield
    except (TritoneError, Failure):
        raise
    except Exception as error:  # whatever tritonclient, NumPy or json raise of bytes that they cannot know
        raise InferenceFailed(
            f"The server's answer cannot be read ({type(error).__name__}: {plain(error):.200}): "
            "client and server must be of one version."
        ) from error
