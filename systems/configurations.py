"""Generates a declared system's files in model_repository/: configurations, model.py of the steps, warm-up data.

One request is one recording. Clients call `S`, an ensemble that requests all outputs of `S_chain`, because
Triton's cache stores the outputs that the first request asked for; `S_chain` is preprocess -> network ->
postprocess. `S_raw` takes a plain HTTP body, which Triton accepts for models with exactly one input.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from systems import network, pbtxt
from systems.system import PROCESSES, Parameter, System, Tensor
from systems.tasks import AUDIO, INFO, MOST_SHOWN, RECORDING, RESULT
from systems.variants import LABELS_FILE, ONNX_FILE, PORTABLE, VARIANTS

QUEUE_SIZE = 64
MAP_SIDE = 14  # width and height of an explanation map
# One second of sound, for warm-up.
SECOND = Path(__file__).with_name("second.mp3")
BOUNDED = (
    "A full queue rejects further requests with UNAVAILABLE at once (the client backs off and tries again) instead"
    " of growing beyond what clients wait for. A request that waits longer than the timeout is rejected, too."
)
UNBOUNDED = (
    "No dynamic batching, and therefore an unbounded queue: Triton 24.10's batcher does not notice that this step"
    " has finished a request, and delays the next one until another arrives (300 ms on average, with 8 in flight)."
    " Requests that reach this step have already passed the bounded queues of the steps before it."
)


def files(system: System) -> Iterator[tuple[str, bytes]]:
    """Yield path below the repository and content of every file that does not depend on the weights."""
    name = system.name
    texts = {
        f"{name}/config.pbtxt": _front(system),
        f"{name}_raw/config.pbtxt": _raw(system),
        f"{name}_chain/config.pbtxt": _chain(system),
        f"{name}_preprocess/config.pbtxt": _preprocess(system),
        f"{name}_preprocess/1/model.py": _step(system, 0),
        f"{name}_postprocess/config.pbtxt": _postprocess(system),
        f"{name}_postprocess/1/model.py": _step(system, 1),
    }
    for variant in (variant for variant in VARIANTS.values() if variant.on_gpu):
        texts[f"{name}_preprocess/configs/{variant.name}.pbtxt"] = _preprocess(system, variant.name)
    for variant in VARIANTS.values():
        file = "config.pbtxt" if variant is PORTABLE else f"configs/{variant.name}.pbtxt"
        texts[f"{name}_network/{file}"] = network.configuration(system, variant)
    if system.architecture.explainer:
        texts[f"{name}_explain/config.pbtxt"] = _explain(system)
    origin = (
        f"by python -m export, {f'like {system.like}' if system.like else f'from {system.declared_in}'}"
        if system.is_own
        else f"by python -m systems, from systems/{name}.py"
    )
    for path, text in texts.items():
        yield path, (pbtxt.comment(f"Generated {origin}.") + text if path.endswith(".pbtxt") else text).encode()
    yield f"{name}_preprocess/warmup/AUDIO", _element(SECOND.read_bytes())
    yield f"{name}_postprocess/warmup/INFO", _element(json.dumps(dict(system.task.warm_info)).encode())
    for model in dict.fromkeys(path.partition("/")[0] for path in texts):
        if system.is_own:
            yield f"{model}/.gitignore", b"*\n"  # the user's own system
        if f"{model}/1/model.py" not in texts:
            yield f"{model}/1/.gitkeep", b""


def _element(content: bytes) -> bytes:
    """Encode a value of a BYTES tensor as Triton reads it from a file."""
    return struct.pack("<I", len(content)) + content


def _declared(system: System, tensors: Sequence[Tensor], batched: bool = False) -> list[tuple[str, str]]:
    """Declare tensors of a step; `batched`: the first axis is the rows of a recording."""
    entries = []
    for tensor in tensors:
        shape = [-1, *system.shape(tensor)] if batched else system.shape(tensor)
        optional = {"optional": True} if tensor.optional else {}
        entries.append((pbtxt.tensor(tensor.name, tensor.type, shape, **optional), tensor.note))
    return entries


def _same(tensors: Sequence[Tensor]) -> dict[str, str]:
    return {tensor.name: tensor.name for tensor in tensors}


def _front(system: System) -> str:
    name, task = system.name, system.task
    answers = []
    for text, note in _declared(system, system.own(task.answers)):
        if text.startswith(f'name: "{task.labelled}"'):
            text += f' label_filename: "../{name}_network/{LABELS_FILE}"'
        answers.append((text, note))
    return pbtxt.file(
        pbtxt.comment(
            f"The model that clients call: {task.texts['answers']} ({system.about}). One request is one recording,"
            f" so there is no batch dimension here; its {task.texts['rows']} are the batch of {name}_network."
            f" {name}_chain does the work and caches the answers."
        ),
        pbtxt.head(name, "ensemble", 0) + pbtxt.parameter("task", task.name),
        pbtxt.tensors("input", _declared(system, RECORDING)) + pbtxt.tensors("output", answers),
        pbtxt.ensemble([(f"{name}_chain", _same(RECORDING), _same(system.own(task.answers)))]),
    )


def _raw(system: System) -> str:
    name, file = system.name, system.task.texts["file"]
    call = f"  curl --data-binary @{file} -H 'Inference-Header-Content-Length: 0' .../v2/models/{name}_raw/infer"
    [audio], [result] = (_declared(system, [tensor]) for tensor in (_required(AUDIO), RESULT))
    return pbtxt.file(
        pbtxt.comment(
            f"Entry to {name} for plain HTTP bodies. Triton accepts a raw body only for a model with exactly one"
            " input:",
            call,
        ),
        pbtxt.head(f"{name}_raw", "ensemble", 0),
        pbtxt.tensors("input", [(audio[0], "")]) + pbtxt.tensors("output", [(result[0], "")]),
        pbtxt.ensemble([(name, _same([AUDIO]), _same([RESULT]))]),
    )


def _required(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.type, tensor.dims)


def _chain(system: System) -> str:
    name, task = system.name, system.task
    passed = [*task.inputs, INFO, *task.kept]
    inner = {tensor.name: tensor.name.lower() for tensor in (*passed, *system.own(task.outputs))}
    rows = {tensor.name: inner[tensor.name] for tensor in task.inputs}
    kept = {tensor.name: inner[tensor.name] for tensor in (INFO, *task.kept)}
    used = {tensor.name: inner[tensor.name] for tensor in system.used}
    return pbtxt.file(
        pbtxt.comment(f"The three steps of {name}. Clients call {name}, which calls this ensemble.")
        + "#\n"
        + pbtxt.comment(
            "Why two ensembles: the key of Triton's response cache is the inputs alone, and its value the outputs"
            f" that the first request asked for. {name} always asks for all outputs, so the entries cached here"
            f" are complete. {task.texts.get('cached', '')}"
        ),
        pbtxt.head(f"{name}_chain", "ensemble", 0),
        pbtxt.tensors("input", _declared(system, RECORDING))
        + pbtxt.tensors("output", _declared(system, system.own(task.answers))),
        pbtxt.comment(
            "A repeated recording with the same options is answered from the cache (--cache-size sets its size)."
        )
        + "response_cache { enable: true }\n",
        pbtxt.ensemble(
            [
                (f"{name}_preprocess", _same(RECORDING), rows | kept),
                (f"{name}_network", rows, used),
                (f"{name}_postprocess", used | kept, _same(system.own(task.answers))),
            ]
        ),
    )


def _preprocess(system: System, variant: str | None = None) -> str:
    """Configure the preprocess step; `variant`: the variant of a network on a GPU."""
    task = system.task
    chosen = (
        f"Selected by --variant {variant} (Triton's --model-config-name): config.pbtxt for a network on a GPU."
    )
    count, more = (
        (PROCESSES, "The launcher starts one per core: decoding limits the throughput of a GPU.")
        if variant
        else (2, "")
    )
    spare = "" if variant else ": as many as there are spare cores"
    processes = f"Each instance is a single-threaded process{spare}. {more}"
    most = Parameter("max_rows", str(system.max_batch_size), "the network's max_batch_size")
    parameters = [*task.limits, *([most] if task.has_images else []), *([task.on_gpu] if variant else [])]
    warm = pbtxt.tensor("", "STRING", [1], input_data_file="AUDIO")
    return pbtxt.file(
        pbtxt.comment(task.texts["prepares"], chosen if variant else ""),
        pbtxt.head(f"{system.name}_preprocess", "python", 0),
        pbtxt.tensors("input", _declared(system, RECORDING))
        + pbtxt.tensors(
            "output", _declared(system, task.inputs, batched=True) + _declared(system, [INFO, *task.kept])
        ),
        pbtxt.comment(processes) + pbtxt.instances(count),
        pbtxt.comment(BOUNDED) + pbtxt.queue(QUEUE_SIZE),
        pbtxt.comment("The limits; an error that rejects a recording names the limit.")
        + pbtxt.parameters((p.key, p.value, p.note) for p in parameters),
        pbtxt.comment(f"One second of MP3, so that {task.texts['ready']} are ready for the first request.")
        + pbtxt.warmups([("mp3", 1, {AUDIO.name: warm})]),
    )


def _postprocess(system: System) -> str:
    task, used = system.task, system.used

    def zeros(tensor: Tensor, rows: list[int]) -> str:
        sizes = [system.size(task.warm_sizes.get(axis, axis)) for axis in tensor.dims]
        return pbtxt.tensor("", tensor.type, [*rows, *(abs(size) for size in sizes)], zero_data=True)

    warm = {tensor.name: zeros(tensor, [1]) for tensor in used}
    warm[INFO.name] = pbtxt.tensor("", INFO.type, [1], input_data_file=INFO.name)
    warm |= {tensor.name: zeros(tensor, []) for tensor in task.kept}
    return pbtxt.file(
        pbtxt.comment(task.texts["concludes"]),
        pbtxt.head(f"{system.name}_postprocess", "python", 0),
        pbtxt.tensors("input", _declared(system, used, batched=True) + _declared(system, [INFO, *task.kept]))
        + pbtxt.tensors("output", _declared(system, system.own(task.answers))),
        pbtxt.comment(UNBOUNDED) + pbtxt.instances(1),
        pbtxt.warmups([(task.texts["warm"], 1, warm)]),
    )


def _explain(system: System) -> str:
    name, architecture = system.name, system.architecture
    rows = system.task.inputs[0]
    number = Tensor("CLASS", "INT64", (1,), "index of the label")
    warm = {
        rows.name: pbtxt.tensor("", rows.type, system.shape(rows), random_data=True),
        number.name: pbtxt.tensor("", number.type, [1], zero_data=True),
    }
    explained_by = str(architecture.explained_by)
    return pbtxt.file(
        pbtxt.comment(
            f"{explained_by[0].upper()}{explained_by[1:]} of {architecture.title}: which parts of an image are"
            " evidence for a class. Optional: `make explain` writes it (1/model.onnx), and the server loads it if"
            f" it was made from the served weights. {name}_postprocess calls it (answers/genre/explain.py) for"
            " requests with the option `explain`."
        ),
        pbtxt.head(f"{name}_explain", "onnxruntime", MOST_SHOWN, ONNX_FILE),
        pbtxt.tensors("input", _declared(system, [rows, number]))
        + pbtxt.tensors("output", [(pbtxt.tensor("MAP", "FP32", [MAP_SIDE, MAP_SIDE]), "in [0, 1]")]),
        pbtxt.comment("On the CPU of every machine: few requests need it.") + pbtxt.instances(1),
        pbtxt.queue(QUEUE_SIZE),
        pbtxt.warmups([("batch of 1", 1, warm)]),
    )


def _step(system: System, place: int) -> str:
    name = ("Preprocess", "Postprocess")[place]
    return (
        f'"""{name} step of {system.name}."""\n\n'
        f"from answers.{system.task.name}.steps import {system.task.steps[place]} as TritonPythonModel\n\n"
        '__all__ = ["TritonPythonModel"]\n'
    )
