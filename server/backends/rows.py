"""Common base of the Python-based network backends: answers a batch of requests with one response each.

Triton passes a batch to a Python backend as separate requests. Their rows are joined, run (on a CPU a few at a
time, which limits the memory) and split again. This file is beside each backend's model.py when Triton runs it.

A request with more rows than run together is a long request (`scheduler` decides what runs when). execute() waits
for it at most PATIENCE seconds, and not at all while other long requests wait; after that, the response is sent
when it is ready. All other requests are answered within execute(): while they run, Triton gathers the next batch,
and its statistics count them exactly.
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
from scheduler import Job, PendingResponses, Scheduler, Steps

# Parameter of config.pbtxt: limit of the values of the first input that run together (at least one row always
# runs).
VALUES_AT_A_TIME = "values_at_a_time"

# Parameter of config.pbtxt: a request whose rows have more values of the first input is rejected.
MAX_VALUES = "most_values"

# Environment variable, set when the server is restarted after a failure: requests that would only warm the network
# are answered with zeros, so that clients wait less.
HURRY = "TRITONE_HURRY"

# Seconds that execute() waits for long requests, while other requests wait for it. Triton's statistics count the
# responses that are ready by then exactly, as most songs are; of the rest they count only this time.
PATIENCE = 0.5


@dataclass(frozen=True, eq=False)
class Query:
    """The content of a request.

    Attributes
    ----------
    inputs : name -> rows
    outputs : names of the requested outputs
    cancelled : returns whether the client has cancelled
    """

    inputs: dict[str, np.ndarray]
    outputs: frozenset[str]
    cancelled: Callable[[], bool]

    @property
    def first(self) -> np.ndarray:
        """The first input."""
        return next(iter(self.inputs.values()))


class NetworkBackend(ABC):
    """Serves a network whose inputs and outputs have the batch as first axis; subclasses load and run it.

    Attributes
    ----------
    rows_at_a_time : largest number of rows that run together; None: the whole batch, which suits a GPU
    device : number of the GPU of a KIND_GPU instance
    """

    rows_at_a_time: int | None = 8  # more are not faster on a CPU: the working set exceeds the caches

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
        self._scheduler = Scheduler()
        self._pending = PendingResponses()
        self._skipped_warmups = len(self.config.get("model_warmup", [])) if os.environ.get(HURRY) else 0

    @abstractmethod
    def load(self, model: Path) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Load the network; return its inputs and outputs as name -> (NumPy type, shape with -1 for free axes)."""

    @abstractmethod
    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Compute the named outputs."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse | None]:
        """Answer a batch; a request that cannot be read or run does not affect the others.

        None instead of a response means that it is sent later, when its last row is done.
        """
        if self._skipped_warmups:  # the warm-up requests come first, one batch for each entry of model_warmup
            self._skipped_warmups -= 1
            return [self._zeros(request) for request in requests]
        until = time.monotonic() + (0 if self._scheduler.has_long else PATIENCE)
        responses: list[pb_utils.InferenceResponse | None] = [None] * len(requests)
        prompt: dict[int, Query] = {}
        long: dict[int, Query] = {}
        for i, request in enumerate(requests):
            try:
                query = self._read(request)
                if rejection := self._reject(query):
                    responses[i] = rejection
                else:
                    (long if self._is_long(query) else prompt)[i] = query
            except Exception:
                responses[i] = self._failed()
        if prompt:
            now = self._scheduler.add(Job(self._answers(list(prompt.values()))), long=False)
        later = {
            i: self._scheduler.add(self._long_job(requests[i], query), long=True) for i, query in long.items()
        }
        if prompt:
            for i, response in zip(prompt, now.result(), strict=True):
                responses[i] = response
        wait(later.values(), timeout=max(0.0, until - time.monotonic()))
        for i, answer in later.items():
            if answer.done():
                responses[i] = answer.result()
            else:
                self._pending.add(1)
                answer.add_done_callback(partial(self._send, requests[i].get_response_sender()))
        return responses

    def _zeros(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Return a response of zeros with the declared types and sizes."""
        rows = len(self._read(request).first)
        sizes = {tensor["name"]: [max(1, int(d)) for d in tensor["dims"]] for tensor in self.config["output"]}
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.zeros((rows, *sizes[name]), kind)) for name, kind in self.outputs.items()]
        )

    def finalize(self) -> None:
        """Finish the pending requests."""
        self._scheduler.close()

    def _send(self, sender: pb_utils.ResponseSender, answer: Future) -> None:
        """Send a response that was not ready when execute() returned."""
        sender.send(answer.result(), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        self._pending.add(-1)

    def _read(self, request: pb_utils.InferenceRequest) -> Query:
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        return Query(inputs, frozenset(request.requested_output_names()), request.is_cancelled)

    def _reject(self, query: Query) -> pb_utils.InferenceResponse | None:
        """Return INVALID_ARGUMENT for rows above the limit, whose memory would never be released; else None."""
        values, limit = query.first[0].size, int(self.parameters.get(MAX_VALUES, 0))
        if not limit or values <= limit:
            return None
        name = next(iter(query.inputs))
        sentence = f"A row of {name} has {values} values; {self.config['name']} accepts at most {limit}."
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(sentence, pb_utils.TritonError.INVALID_ARG))

    def _is_long(self, query: Query) -> bool:
        return len(query.first) > self._together(len(query.first), query.first[0].size)

    def _long_job(self, request: pb_utils.InferenceRequest, query: Query) -> Job:
        """Return a job with a copy of the inputs, so that other requests can use the shared memory meanwhile."""
        inputs = {name: x.copy() for name, x in query.inputs.items()}
        copy = Query(inputs, query.outputs, request.get_response_sender().is_cancelled)
        rows, values = len(copy.first), copy.first[0].size
        return Job(self._answer_alone(copy), rows, len(self._parts(rows, values)))

    def _answers(self, queries: list[Query]) -> Steps[list[pb_utils.InferenceResponse]]:
        """Return one response per query; runs all rows together, or the queries one by one if that fails."""
        present = [query for query in queries if not query.cancelled()]
        try:
            answers = iter((yield from self._answer(present)) if present else [])
            return [next(answers) if query in present else _cancelled() for query in queries]
        except Exception:
            alone = []
            for query in queries:
                alone.append((yield from self._answer_alone(query)))
            return alone

    def _answer_alone(self, query: Query) -> Steps[pb_utils.InferenceResponse]:
        """Return the response to one query, also after an error."""
        try:
            return (yield from self._answer([query]))[0]
        except Exception:
            return _cancelled() if query.cancelled() else self._failed()

    def _failed(self) -> pb_utils.InferenceResponse:
        """Return the response to a request that just failed; only the log has the cause: it names source files."""
        number = secrets.token_hex(4)
        name = self.config["name"]
        pb_utils.Logger.log_error(f"{name}: failed on a request ({number})\n{traceback.format_exc()}")
        error = pb_utils.TritonError(f"{name} failed on this request; the server's log has the cause ({number}).")
        return pb_utils.InferenceResponse(error=error)

    def _answer(self, queries: list[Query]) -> Steps[list[pb_utils.InferenceResponse]]:
        """Return one response per query, with all rows run together; stops when all clients have cancelled."""
        rows = {name: _join([query.inputs[name] for query in queries]) for name in self.inputs}
        first = next(iter(rows.values()))
        parts: list[list[np.ndarray]] = []
        for part in self._parts(len(first), first[0].size):
            if parts:
                yield
            if all(query.cancelled() for query in queries):
                raise InterruptedError
            parts.append(self.run({name: x[part] for name, x in rows.items()}, list(self.outputs)))
        results = [_join(list(part)) for part in zip(*parts, strict=True)]
        ends = np.cumsum([len(query.first) for query in queries])[:-1]
        split = [np.split(result, ends) for result in results]
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, values[i])
                    for name, values in zip(self.outputs, split, strict=True)
                    if name in query.outputs
                ]
            )
            for i, query in enumerate(queries)
        ]

    def _together(self, rows: int, values: int) -> int:
        """Return the largest number of rows to run together; `values` is the size of a row of the first input."""
        most = self.rows_at_a_time or rows
        return min(most, max(1, self.values_at_a_time // values)) if self.values_at_a_time else most

    def _parts(self, rows: int, values: int) -> list[slice]:
        """Return the slices of rows to run together.

        With a limit of the values, rows may have any length. Then the numbers of rows are powers of two: a runtime
        compiles or allocates for each new shape, so there should be few shapes.
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
        """Check config.pbtxt against the network; return the declared names and types in their order."""
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
    """Concatenate along the batch; a single array is returned without a copy."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _fits(found: list[int], wanted: list[int]) -> bool:
    """Return whether a network's shape accepts the shape in config.pbtxt; -1 is a free axis."""
    return (
        len(found) == len(wanted)
        and found[0] == -1
        and all(f in (-1, w) for f, w in zip(found[1:], wanted[1:], strict=True))
    )
