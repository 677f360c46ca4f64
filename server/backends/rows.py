"""What the Python-based network backends share: a batch of requests in, one response each out.

Triton hands a Python backend its batch as separate requests. Their rows are joined, run (a few at a time on a CPU,
so that the memory stays flat) and split again. Lies beside each backend's model.py when Triton runs it.
"""

import json
import os
import secrets
import traceback
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

VALUES_AT_A_TIME = "values_at_a_time"
"""Parameter of config.pbtxt: at most so many values of the first input are run together, but always one row."""


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
        self.device = int(args.get("model_instance_device_id", 0))
        self.threads = len(os.sched_getaffinity(0))
        model = Path(pb_utils.get_model_dir(), self.config["default_model_filename"] or "model.onnx")
        if not model.is_file():
            raise pb_utils.TritonModelException(f"{name}: {model} is missing: run make export")
        inputs, outputs = self.load(model)
        self.inputs = self._check("input", inputs)
        self.outputs = self._check("output", outputs)

    @abstractmethod
    def load(self, model: Path) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Load the network; the inputs and outputs it has as name -> (NumPy type, shape with -1 for any)."""

    @abstractmethod
    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The named outputs for some rows."""

    def execute(self, requests: list) -> list:
        """Answer a batch; a request that cannot be read or run fails alone."""
        joined, responses = [], [None] * len(requests)
        for i, request in enumerate(requests):
            if request.is_cancelled():
                error = pb_utils.TritonError("The client has cancelled.", pb_utils.TritonError.CANCELLED)
                responses[i] = pb_utils.InferenceResponse(error=error)
            else:
                joined.append(i)
        try:
            answers = self._answer([requests[i] for i in joined]) if joined else []
        except Exception:  # one of them spoils the batch: find out which
            answers = [self._answer_alone(requests[i]) for i in joined]
        for i, answer in zip(joined, answers, strict=True):
            responses[i] = answer
        return responses

    def _answer_alone(self, request) -> object:
        try:
            return self._answer([request])[0]
        except Exception:  # runtimes name their source files and ours
            number = secrets.token_hex(4)
            name = self.config["name"]
            pb_utils.Logger.log_error(f"{name}: failed on a request ({number})\n{traceback.format_exc()}")
            error = pb_utils.TritonError(
                f"{name} failed on this request; the server's log has the cause ({number})."
            )
            return pb_utils.InferenceResponse(error=error)

    def _answer(self, requests: list) -> list:
        """One response per request, all rows run together."""
        batches = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            for request in requests
        ]
        rows = {name: _join([batch[name] for batch in batches]) for name in self.inputs}
        total = len(next(iter(rows.values())))
        values = next(iter(rows.values()))[0].size
        parts = [
            self.run({name: x[part] for name, x in rows.items()}, list(self.outputs))
            for part in self._parts(total, values)
        ]
        results = [_join(list(part)) for part in zip(*parts, strict=True)]
        ends = np.cumsum([len(next(iter(batch.values()))) for batch in batches])[:-1]
        split = [np.split(result, ends) for result in results]
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, values[i])
                    for name, values in zip(self.outputs, split, strict=True)
                    if name in request.requested_output_names()
                ]
            )
            for i, request in enumerate(requests)
        ]

    def _parts(self, rows: int, values: int) -> list[slice]:
        """Which rows to run together; `values` is what a row of the first input has.

        With a limit on the values, rows of any length are expected. Then their numbers are powers of two: a
        runtime prepares itself for each shape at its first use, so there should be few.
        """
        most = self.rows_at_a_time or rows
        values_at_a_time = int(self.parameters.get(VALUES_AT_A_TIME, 0))
        if not values_at_a_time:
            return [slice(start, start + most) for start in range(0, rows, most)]
        most = min(most, max(1, values_at_a_time // values))
        parts, start = [], 0
        while start < rows:
            size = 1 << (min(most, rows - start).bit_length() - 1)
            parts.append(slice(start, start + size))
            start += size
        return parts

    def _check(self, kind: str, found: dict[str, tuple]) -> dict[str, type]:
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
