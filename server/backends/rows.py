"""What the Python-based network backends share: a batch of requests in, one response each out.

Triton hands a Python backend its batch as separate requests. Their rows are joined, run (a few at a time on a CPU,
so that the memory stays flat) and split again. Lies beside each backend's model.py when Triton runs it.

A request with more rows than are run together is a long one (`turns` says who runs when). execute() waits for it
no longer than PATIENCE, and not at all while others of its kind wait; then the response is sent when it is ready.
All other requests are answered within execute(): while they run, Triton gathers the next batch, and its statistics
count them exactly.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from turns import Job, Owed, Steps, Turns

VALUES_AT_A_TIME = "values_at_a_time"
"""Parameter of config.pbtxt: at most so many values of the first input are run together, but always one row."""

MOST_VALUES = "most_values"
"""Parameter of config.pbtxt: a request whose rows have more values of the first input is refused."""

HURRY = "TRITONE_HURRY"
"""Environment variable, set where the server is started anew after its end: answers are missed meanwhile, so that
requests which would only warm the network are answered with zeros and not run."""

PATIENCE = 0.5
"""Seconds that execute() waits for long requests, and the others for it. What is ready by then, as most songs are,
is counted by Triton where it belongs; of the rest its statistics of the network know this beginning."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a request asks.

    Attributes
    ----------
    inputs : name -> rows
    outputs : the names that are asked for
    gone : whether the client has cancelled
    """

    inputs: dict[str, np.ndarray]
    outputs: frozenset[str]
    gone: Callable[[], bool]

    @property
    def first(self) -> np.ndarray:
        """The first input."""
        return next(iter(self.inputs.values()))


class NetworkBackend(ABC):
    """Serves a network whose inputs and outputs have the batch first; subclasses load it and run it.

    Attributes
    ----------
    rows_at_a_time : the most rows that are run together; None: the whole batch, as a GPU wants it
    device : number of the GPU of an instance of KIND_GPU
    """

    rows_at_a_time: int | None = 8  # more gain nothing on a CPU: the working set outgrows the caches

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network and check that it has the tensors that config.pbtxt declares."""
        self.config = json.loads(args["model_config"])
        name = self.config["name"]
        if self.config["max_batch_size"] < 1:
            raise pb_utils.TritonModelException(
                f"{name}: max_batch_size must be at least 1, the first axis is the batch"
            )
        self.parameters = {key: value["string_value"] for key, value in self.config.get("parameters", {}).items()}
        self.values_at_a_time = int(self.parameters.get(VALUES_AT_A_TIME, 0))
        self.device = int(args.get("model_instance_device_id", 0))
        self.threads = len(os.sched_getaffinity(0))
        model = Path(pb_utils.get_model_dir(), self.config["default_model_filename"] or "model.onnx")
        if not model.is_file():
            raise pb_utils.TritonModelException(f"{name}: {model} is missing: run make export")
        inputs, outputs = self.load(model)
        self.inputs = self._check("input", inputs)
        self.outputs = self._check("output", outputs)
        self._turns = Turns()
        self._owed = Owed()
        self._left_cold = len(self.config.get("model_warmup", [])) if os.environ.get(HURRY) else 0

    @abstractmethod
    def load(self, model: Path) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Load the network; the inputs and outputs it has as name -> (NumPy type, shape with -1 for any)."""

    @abstractmethod
    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The named outputs for some rows."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse | None]:
        """Answer a batch; a request that cannot be read or run fails alone.

        None in place of a response: it is sent later, when its last row is done.
        """
        if self._left_cold:  # what warms comes first, a batch for each entry of model_warmup
            self._left_cold -= 1
            return [self._zeros(request) for request in requests]
        until = time.monotonic() + (0 if self._turns.has_long else PATIENCE)
        responses: list[pb_utils.InferenceResponse | None] = [None] * len(requests)
        prompt: dict[int, Asked] = {}
        long: dict[int, Asked] = {}
        for i, request in enumerate(requests):
            try:
                asked = self._read(request)
                if refusal := self._refuse(asked):
                    responses[i] = refusal
                else:
                    (long if self._is_long(asked) else prompt)[i] = asked
            except Exception:
                responses[i] = self._failed()
        if prompt:
            now = self._turns.add(Job(self._answers(list(prompt.values()))), long=False)
        later = {i: self._turns.add(self._long_job(requests[i], asked), long=True) for i, asked in long.items()}
        if prompt:
            for i, response in zip(prompt, now.result(), strict=True):
                responses[i] = response
        wait(later.values(), timeout=max(0.0, until - time.monotonic()))
        for i, answer in later.items():
            if answer.done():
                responses[i] = answer.result()
            else:
                self._owed.add(1)
                answer.add_done_callback(partial(self._send, requests[i].get_response_sender()))
        return responses

    def _zeros(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """A response of the right types."""
        rows = len(self._read(request).first)
        sizes = {tensor["name"]: [max(1, int(d)) for d in tensor["dims"]] for tensor in self.config["output"]}
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.zeros((rows, *sizes[name]), kind)) for name, kind in self.outputs.items()]
        )

    def finalize(self) -> None:
        """Answer what is still waited for."""
        self._turns.close()

    def _send(self, sender: pb_utils.ResponseSender, answer: Future) -> None:
        """Send a response of which execute() has not waited for the end."""
        sender.send(answer.result(), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        self._owed.add(-1)

    def _read(self, request: pb_utils.InferenceRequest) -> Asked:
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        return Asked(inputs, frozenset(request.requested_output_names()), request.is_cancelled)

    def _refuse(self, asked: Asked) -> pb_utils.InferenceResponse | None:
        """INVALID_ARGUMENT for rows that are longer than the network is meant for: their memory would be kept."""
        values, most = asked.first[0].size, int(self.parameters.get(MOST_VALUES, 0))
        if not most or values <= most:
            return None
        name = next(iter(asked.inputs))
        sentence = f"A row of {name} has {values} values; {self.config['name']} accepts at most {most}."
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(sentence, pb_utils.TritonError.INVALID_ARG))

    def _is_long(self, asked: Asked) -> bool:
        return len(asked.first) > self._together(len(asked.first), asked.first[0].size)

    def _long_job(self, request: pb_utils.InferenceRequest, asked: Asked) -> Job:
        """A job that needs nothing of the request, whose shared memory others want meanwhile."""
        inputs = {name: x.copy() for name, x in asked.inputs.items()}
        copy = Asked(inputs, asked.outputs, request.get_response_sender().is_cancelled)
        rows, values = len(copy.first), copy.first[0].size
        return Job(self._answer_alone(copy), rows, len(self._parts(rows, values)))

    def _answers(self, asked: list[Asked]) -> Steps[list[pb_utils.InferenceResponse]]:
        """One response each, all rows run together; where one of them spoils that, one by one."""
        present = [each for each in asked if not each.gone()]
        try:
            answers = iter((yield from self._answer(present)) if present else [])
            return [next(answers) if each in present else _cancelled() for each in asked]
        except Exception:
            alone = []
            for each in asked:
                alone.append((yield from self._answer_alone(each)))
            return alone

    def _answer_alone(self, asked: Asked) -> Steps[pb_utils.InferenceResponse]:
        """The response to one request, whatever happens."""
        try:
            return (yield from self._answer([asked]))[0]
        except Exception:
            return _cancelled() if asked.gone() else self._failed()

    def _failed(self) -> pb_utils.InferenceResponse:
        """The response to a request that just failed; the log has the cause, which names source files."""
        number = secrets.token_hex(4)
        name = self.config["name"]
        pb_utils.Logger.log_error(f"{name}: failed on a request ({number})\n{traceback.format_exc()}")
        error = pb_utils.TritonError(f"{name} failed on this request; the server's log has the cause ({number}).")
        return pb_utils.InferenceResponse(error=error)

    def _answer(self, asked: list[Asked]) -> Steps[list[pb_utils.InferenceResponse]]:
        """One response per request, all rows run together; stops when all clients have gone."""
        rows = {name: _join([each.inputs[name] for each in asked]) for name in self.inputs}
        first = next(iter(rows.values()))
        parts: list[list[np.ndarray]] = []
        for part in self._parts(len(first), first[0].size):
            if parts:
                yield
            if all(each.gone() for each in asked):
                raise InterruptedError
            parts.append(self.run({name: x[part] for name, x in rows.items()}, list(self.outputs)))
        results = [_join(list(part)) for part in zip(*parts, strict=True)]
        ends = np.cumsum([len(each.first) for each in asked])[:-1]
        split = [np.split(result, ends) for result in results]
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, values[i])
                    for name, values in zip(self.outputs, split, strict=True)
                    if name in each.outputs
                ]
            )
            for i, each in enumerate(asked)
        ]

    def _together(self, rows: int, values: int) -> int:
        """The most rows to run together; `values` is what a row of the first input has."""
        most = self.rows_at_a_time or rows
        return min(most, max(1, self.values_at_a_time // values)) if self.values_at_a_time else most

    def _parts(self, rows: int, values: int) -> list[slice]:
        """Which rows to run together.

        With a limit on the values, rows of any length are expected. Then their numbers are powers of two: a
        runtime prepares itself for each shape at its first use, so there should be few.
        """
        most = self._together(rows, values)
        if not self.values_at_a_time:
            return [slice(start, start + most) for start in range(0, rows, most)]
        parts, start = [], 0
        while start < rows:
            size = 1 << (min(most, rows - start).bit_length() - 1)
            parts.append(slice(start, start + size))
            start += size
        return parts

    def _check(self, kind: str, found: dict[str, tuple]) -> dict[str, np.dtype]:
        """Compare config.pbtxt with the network; declared names and their types, in the order of config.pbtxt."""
        declared = {}
        for tensor in self.config[kind]:
            name, dims = tensor["name"], [int(d) for d in tensor["dims"]]
            wanted = (np.dtype(pb_utils.triton_string_to_numpy(tensor["data_type"])), [-1, *dims])
            if name not in found:
                problem = f"the network has no {kind} {name}, only {', '.join(found)}"
            elif found[name][0] != wanted[0]:
                problem = f"{kind} {name} is {found[name][0]} in the network, {wanted[0]} in config.pbtxt"
            elif not _fits(found[name][1], wanted[1]):
                problem = (
                    f"{kind} {name} has the shape {found[name][1]} in the network, {wanted[1]} in config.pbtxt"
                )
            else:
                declared[name] = wanted[0]
                continue
            raise pb_utils.TritonModelException(f"{self.config['name']}: {problem}")
        if kind == "input" and set(found) - set(declared):
            missing = ", ".join(sorted(set(found) - set(declared)))
            raise pb_utils.TritonModelException(f"{self.config['name']}: config.pbtxt lacks the input {missing}")
        return declared


def _cancelled() -> pb_utils.InferenceResponse:
    error = pb_utils.TritonError("The client has cancelled.", pb_utils.TritonError.CANCELLED)
    return pb_utils.InferenceResponse(error=error)


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    """Concatenate along the batch, without a copy where there is nothing to join."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _fits(found: list[int], wanted: list[int]) -> bool:
    """Whether a network's shape takes what config.pbtxt declares; -1 is any size."""
    return (
        len(found) == len(wanted)
        and found[0] == -1
        and all(f in (-1, w) for f, w in zip(found[1:], wanted[1:], strict=True))
    )
