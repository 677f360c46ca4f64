"""A recording and its options as the input tensors of a system. Pure functions: nothing is sent here."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tritone_client.errors import InvalidRecording

Recording = str | Path | bytes | tuple[npt.ArrayLike, int]

INPUTS = ("AUDIO", "PCM", "SAMPLE_RATE", "OPTIONS")
ARGUMENTS = frozenset({"self", "recording", "model", "timeout", "granularity", "embedding"})  # of the methods

MAX_BYTES = 256 << 20  # 25 minutes of WAV at CD quality; the server has a lower limit of its own, and reports it
URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
BLANKS = 64  # of two kinds: as many bits as the keys of Triton's cache have


@dataclass(frozen=True)
class Request:
    """One inference: the model's name, its input tensors by name, and the requested outputs."""

    model: str
    inputs: dict[str, npt.NDArray[Any]]
    outputs: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the inputs."""
        return sum(array.nbytes if array.dtype != object else len(array[0]) for array in self.inputs.values())

    @property
    def sha256(self) -> str:
        """The hash that RESULT reports, in hexadecimal: of the recording, a zero byte and OPTIONS as sent."""
        options = self.inputs.get("OPTIONS")
        digest = self._recording_hash.copy()
        digest.update(b"" if options is None else options[0])
        return digest.hexdigest()

    @property
    def past_cache(self) -> "Request":
        """The same request in bytes that no cache holds: with random blanks after its options, as JSON allows."""
        options = self.inputs["OPTIONS"][0] if "OPTIONS" in self.inputs else b"{}"
        blanks = "".join(secrets.choice(" \t") for _ in range(BLANKS)).encode()
        again = replace(self, inputs={**self.inputs, "OPTIONS": bytes_tensor(options + blanks)})
        again.__dict__["_recording_hash"] = self._recording_hash  # computing it takes a millisecond per megabyte
        return again

    @cached_property
    def _recording_hash(self) -> "hashlib._Hash":
        digest = hashlib.sha256()
        if "AUDIO" in self.inputs:
            digest.update(self.inputs["AUDIO"][0])
        else:
            digest.update(np.ascontiguousarray(self.inputs["PCM"], "<f4").data)
            digest.update(self.inputs["SAMPLE_RATE"].astype("<i4").tobytes())
        digest.update(b"\0")
        return digest


def check_names(options: Mapping[str, object]) -> None:
    """Raise `InvalidRecording` for options that are arguments of the client's methods."""
    if taken := sorted(ARGUMENTS & options.keys()):
        raise InvalidRecording(
            f"'{taken[0]}' is an argument of the client, not an option of the server: leave it out."
        )


def build_request(
    recording: Recording, model: str, options: dict[str, object], outputs: tuple[str, ...]
) -> Request:
    """Return the request for `recording`: the path of an audio file, its bytes, or `(samples, sample rate in Hz)`.

    Options that are None are not sent. Raises `InvalidRecording` for anything that cannot be sent.
    """
    inputs = (
        pcm_tensors(*recording) if isinstance(recording, tuple) else {"AUDIO": bytes_tensor(encoded(recording))}
    )
    options = {name: value for name, value in options.items() if value is not None}
    try:
        text = json.dumps(options, sort_keys=True)  # sorted: equal options get equal keys in the server's cache
    except TypeError as error:
        raise InvalidRecording(f"Options must be JSON values: {error}, in {options}.") from None
    return Request(model, inputs | {"OPTIONS": bytes_tensor(text.encode())}, outputs)


def encoded(recording: str | Path | bytes) -> bytes:
    """Return the bytes of an encoded recording, read from its file if a path is given."""
    if isinstance(recording, bytes | bytearray | memoryview):
        name, data = "The recording", bytes(recording)
    else:
        if not isinstance(recording, str | Path) or "\0" in str(recording):
            raise InvalidRecording(
                f"A recording is a path, bytes or (samples, sample rate), not {recording!r:.80}."
            )
        if isinstance(recording, str) and URL.match(recording) and not os.path.exists(recording):
            raise InvalidRecording(
                f"'{recording}' is a URL, and URLs are not fetched: download the file and name its path."
            )
        path = Path(os.path.expanduser(recording))  # unchanged if there is no such user
        name = f"'{path}'"
        try:
            if path.is_dir():
                raise InvalidRecording(f"{name} is a directory: name the files in it.")
            if path.stat().st_size > MAX_BYTES:
                raise InvalidRecording(too_large(name, path.stat().st_size))
            data = path.read_bytes()
        except FileNotFoundError:
            raise InvalidRecording(f"{name} does not exist: check the path.") from None
        except OSError as error:
            raise InvalidRecording(f"{name} cannot be read: {error.strerror}.") from None
    if not data:
        raise InvalidRecording(f"{name} is empty: send an audio file.")
    if len(data) > MAX_BYTES:
        raise InvalidRecording(too_large(name, len(data)))
    return data


def too_large(name: str, size: int) -> str:
    """Return the message for a recording that is larger than `MAX_BYTES`."""
    return f"{name} has {size / 2**20:.0f} MiB, but the limit is {MAX_BYTES >> 20} MiB: cut or compress it."


def pcm_tensors(samples: npt.ArrayLike, sample_rate: int) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors `PCM` float32 [n] and `SAMPLE_RATE` int32 [1].

    The samples are [n] or [n, channels], float or int16. Channels are averaged; int16 is scaled by 1/32768, so
    that full scale is 1 in both cases.
    """
    array = np.asarray(samples)
    if array.dtype.kind != "f" and (array.dtype.kind, array.dtype.itemsize) != ("i", 2):
        raise InvalidRecording(f"Samples must be float or int16, not {array.dtype}: convert them first.")
    if array.ndim not in (1, 2) or array.size == 0:
        raise InvalidRecording(
            f"Samples must have the shape [n] or [n, channels] with n > 0, not {list(array.shape)}."
        )
    if array.ndim == 2 and array.shape[1] > array.shape[0]:
        raise InvalidRecording(
            f"Samples of shape {list(array.shape)} look like [channels, n]: send their transpose."
        )
    if not isinstance(sample_rate, int | float | np.number) or not (
        0 < sample_rate < 2**31 and sample_rate % 1 == 0
    ):
        raise InvalidRecording(f"The sample rate must be a positive whole number of Hz, not {sample_rate}.")
    scale = np.float32(1 / 32768 if array.dtype.kind == "i" else 1)
    mono = array.astype(np.float32, copy=False)
    if array.ndim == 2:
        mono = mono @ np.full(
            array.shape[1], scale / array.shape[1], np.float32
        )  # ten times faster than mean(axis=1)
    elif scale != 1:
        mono = mono * scale
    return {"PCM": np.ascontiguousarray(mono), "SAMPLE_RATE": np.array([sample_rate], np.int32)}


def bytes_tensor(data: bytes) -> npt.NDArray[np.object_]:
    """Return a BYTES [1] tensor; of objects, because NumPy's own bytes type drops trailing zero bytes."""
    return np.array([data], dtype=np.object_)
