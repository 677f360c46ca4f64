"""The base class of all Python steps, and functions that read requests and build responses."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
import traceback
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from answers.info import InputError
from preprocess import RecordingError
from systems.repository import read_manifest


class StepFailure(Exception):
    """The server cannot answer. The message, one sentence, is returned as INTERNAL and logged."""


class Step(ABC):
    """One Python step of a system; subclasses implement `answer`.

    Attributes
    ----------
    suffix : end of the model's name, after the name of the system
    name : name of the model
    manifest : content of the network's manifest
    profiles : by name, the profiles that the system supports
    runtime : RESULT's entry "computed": where and how the network runs; empty if the launcher did not report it
    parameters : `parameters` of config.pbtxt, parsed as JSON
    """

    suffix: str

    def initialize(self, args: dict[str, str]) -> None:
        """Read the manifest, the `parameters` of config.pbtxt, and the launcher's report about the runtime."""
        self.name = args["model_name"]
        system = self.name.removesuffix(self.suffix)
        manifest = read_manifest(Path(args["model_repository"]).parent, system)
        self.manifest, self.profiles = manifest.content, manifest.profiles
        reported = json.loads(os.environ.get("TRITONE_COMPUTED", "{}"))  # by server/runtime_info.py
        self.runtime = {"computed": reported[system]} if system in reported else {}
        config = json.loads(args["model_config"])
        parameters = config.get("parameters", {})
        self.parameters = {key: json.loads(value["string_value"]) for key, value in parameters.items()}

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Return one response per request; a rejected recording does not affect the other requests."""
        return [self._respond(request) for request in requests]

    @abstractmethod
    def answer(self, request: pb_utils.InferenceRequest) -> list[pb_utils.Tensor]:
        """Return the output tensors of one request.

        A RecordingError is returned as INVALID_ARGUMENT with its code in brackets, a StepFailure as INTERNAL.
        """

    def _respond(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        try:
            if request.is_cancelled():
                error = pb_utils.TritonError("The client cancelled the request.", pb_utils.TritonError.CANCELLED)
                return pb_utils.InferenceResponse(error=error)
            return pb_utils.InferenceResponse(self.answer(request))
        except RecordingError as error:
            rejection = pb_utils.TritonError(f"{error} [{error.code}]", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=rejection)
        except StepFailure as error:
            pb_utils.Logger.log_error(f"{self.name}: {error}")
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(str(error), pb_utils.TritonError.INTERNAL)
            )
        except Exception:  # a bug: Triton would send the traceback, with the server's paths, to the client
            number = secrets.token_hex(4)
            pb_utils.Logger.log_error(f"{self.name}: failed on a request ({number})\n{traceback.format_exc()}")
            failure = pb_utils.TritonError(f"The server failed on this request; its log has the cause ({number}).")
            return pb_utils.InferenceResponse(error=failure)


def recording_of(request: pb_utils.InferenceRequest) -> bytes | tuple[np.ndarray, int]:
    """Return the recording of a request: an encoded file, or samples with their rate."""
    audio = bytes_of(request, "AUDIO")
    pcm, rate = (pb_utils.get_input_tensor_by_name(request, name) for name in ("PCM", "SAMPLE_RATE"))
    if (audio is None) == (pcm is None):
        sent = "both" if pcm is not None else "neither"
        raise InputError(f"Send either AUDIO (an encoded file) or PCM with SAMPLE_RATE, not {sent}.")
    if audio is not None:
        if rate is not None:
            raise InputError("SAMPLE_RATE goes with PCM; an encoded file (AUDIO) has its own.")
        return audio
    if rate is None:
        raise InputError("PCM needs SAMPLE_RATE (Hz, INT32 [1]).")
    return pcm.as_numpy(), int(rate.as_numpy()[0])


def bytes_of(request: pb_utils.InferenceRequest, name: str) -> bytes | None:
    """Return the only element of a BYTES [1] tensor; None if the optional tensor was not sent."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()[0]


def request_sha256(recording: bytes | tuple[np.ndarray, int], options: bytes | None) -> str:
    """Hash a request, so that its client can verify that an answer belongs to it.

    Triton's response cache distinguishes requests only by a 64-bit hash.

    Parameters
    ----------
    recording : bytes of a file; or samples and their rate, hashed as float32 and int32, little endian
    options : OPTIONS as received, None if it was not sent

    Returns
    -------
    SHA-256 of the recording, a zero byte and OPTIONS, in hexadecimal digits
    """
    digest = hashlib.sha256()
    if isinstance(recording, bytes):
        digest.update(recording)
    else:
        samples, rate = recording
        digest.update(np.ascontiguousarray(samples, "<f4").data)
        digest.update(struct.pack("<i", rate))
    digest.update(b"\0")
    digest.update(options or b"")
    return digest.hexdigest()


def check_finite(name: str, values: np.ndarray) -> None:
    """Raise StepFailure if a network's output contains NaN or infinity."""
    if not np.isfinite(values).all():
        raise StepFailure(
            f"{name} has NaN or infinite values: the weights are damaged, or the network fails on this machine."
        )


def json_tensor(name: str, value: dict | list) -> pb_utils.Tensor:
    """Make a tensor of JSON, on a line of its own so that `tail -n 1` finds it in a raw HTTP body."""
    try:
        text = "\n" + json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise StepFailure(
            f"{name} would contain NaN or an infinite number, which JSON cannot represent."
        ) from error
    return pb_utils.Tensor(name, np.array([text.encode()], object))
