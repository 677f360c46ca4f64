"""Generates the configurations of a network, one for each variant."""

from __future__ import annotations

from systems import lengths, pbtxt
from systems.system import System
from systems.variants import CUDA, ONNX_FILE, OPENVINO_INT8, PORTABLE, TENSORRT, TENSORRT_RTX, Variant

QUEUE_SIZE = 256
PLANS = (TENSORRT, TENSORRT_RTX)

NOT_INT8 = "on OpenVINO, like --variant openvino: this system has no INT8 network."
PLAN = (
    "`python -m export {command}` builds it, optimised for the largest preferred_batch_size{rows}, for 1 to"
    " max_batch_size rows{lengths}."
)
SMALLER = (
    " On smaller ones, lower max_batch_size, with which the memory grows, and build again; keep it at or above the"
    " number of windows of the longest recording, max_seconds of the preprocess step / 19.6 s. Or serve the genre"
    " systems alone (TRITONE_SYSTEMS)."
)
PLAN_MEMORY = {
    TENSORRT: "Memory: TensorRT reserves what the largest shape needs, 32 rows of 30.5 s; plan.json has the"
    " figure. The largest tensors are the input and output of the first norm, in float32 (97679 x 512 per row: 6.4"
    " GB each), and the attention scores (16 x 1536 x 1536 per row: 4.8 GB), unless TensorRT fuses them away. This"
    " is meant for GPUs with 40 GB or more." + SMALLER,
    TENSORRT_RTX: "Memory: TensorRT-RTX reserves what the largest shape needs, 32 rows of 30.5 s: its builder"
    " reports 14.7 GB, beside 0.3 GB of weights. This is meant for cards with 24 GB or more." + SMALLER,
}
GATHERING = "The next batch gathers while one runs; there is no artificial delay."
OF_LIKE_LENGTH = (
    "Rows have one of a few lengths ({} of systems/lengths.py), so that recordings of similar length share a"
    " batch."
)
AT_A_TIME = (
    "The samples that run together, five seconds, but always at least one row: on a CPU a longer row gains nothing"
    " from a batch. (Only the embedded server's backends read this parameter.)"
)
LONGEST_ROW = "The longest row, in samples"
LONGEST_ELSEWHERE = (
    ": the memory for a row grows with the square of its length and is not released. The embedded server's"
    " backends reject a longer row with INVALID_ARGUMENT. The container's {} backend ignores this parameter: there"
    " the preprocess step limits the rows of recordings, but clients that call this network directly are not"
    " limited."
)
LONGEST_IN_PLANS = (
    ". The embedded server's backends reject a longer row with INVALID_ARGUMENT; in the container the plan rejects"
    " it, because it has no optimisation profile of that length."
)
LONGEST_IN_RTX = ". The embedded server's backends reject a longer row with INVALID_ARGUMENT."
SEARCH = (
    "Select convolution algorithms by heuristics (1). The default tries them all, which delays the first batch of"
    " every {}."
)
ARENA = (
    "Allocate only the memory that is needed (1): the default doubles it, and a batch of 32 long rows already"
    " takes gigabytes."
)
GRAPHS = (
    "One launch for the whole network instead of one per layer. A graph is captured for one batch size and also"
    " serves smaller batches down to its lower bound; the rows that fill them up do not change the answers."
    " Without the shapes the backend would use a graph for its own batch size only. (Not in the embedded server,"
    " whose backend launches the layers.)"
)
NO_GRAPHS = (
    "No CUDA graphs: a graph has one batch size and one length, and a row must not run in a graph of longer rows."
)


def configuration(system: System, variant: Variant) -> str:
    """Return config.pbtxt of a system's network for a variant."""
    task = system.task
    own_file = task.has_images or variant is not OPENVINO_INT8  # speech systems have no INT8 network
    settings = _picture_settings(system, variant) if task.has_images else _length_settings(system, variant)
    return pbtxt.file(
        _about(system, variant),
        pbtxt.head(
            f"{system.name}_network",
            variant.backend,
            system.max_batch_size,
            variant.file if own_file else ONNX_FILE,
        ),
        _tensors(system, "input") + pbtxt.comment(task.texts.get("outputs", "")) + _tensors(system, "output"),
        _instances(system, variant),
        _batching(system, variant),
        *settings,
    )


def _about(system: System, variant: Variant) -> str:
    images = system.task.has_images
    text = NOT_INT8 if variant is OPENVINO_INT8 and not images else variant.about
    plan = ""
    if variant in PLANS:
        rows, lengths = ("", "") if images else (" and rows of five seconds", " of 1.3 to 30.5 s")
        plan = " " + PLAN.format(command=variant.name, rows=rows, lengths=lengths)
    chosen = "" if variant is PORTABLE else f" Selected by --variant {variant.name} (Triton's --model-config-name)"
    if chosen:
        chosen += ", never automatically: answers change slightly." if variant is OPENVINO_INT8 and images else "."
    memory = PLAN_MEMORY.get(variant, "") if not images else ""
    return pbtxt.comment(f"{system.about}, {text}{plan}{chosen}", memory)


def _tensors(system: System, kind: str) -> str:
    entries = system.own(system.task.inputs if kind == "input" else system.task.outputs)
    notes = len(entries) > 1  # a single tensor is written on one line
    return pbtxt.tensors(
        kind, [(pbtxt.tensor(t.name, t.type, system.shape(t)), t.note if notes else "") for t in entries]
    )


def _instances(system: System, variant: Variant) -> str:
    if variant is TENSORRT and system.task.has_images:
        why = (
            "Two instances: while one computes, inputs and outputs of the other are copied, 19 MB per full batch."
        )
        return pbtxt.comment(why) + pbtxt.instances(2, on_gpu=True)
    if variant in PLANS:
        why = "One instance: each reserves the memory for the largest batch."
        return pbtxt.comment(why) + pbtxt.instances(1, on_gpu=True)
    why = "" if variant.on_gpu else "One instance that uses all cores: two would compete for them."
    return pbtxt.comment(why) + pbtxt.instances(1, variant.on_gpu)


def _batching(system: System, variant: Variant) -> str:
    preferred: tuple[int, ...] = ()
    why = [GATHERING]
    if not system.task.has_images:
        why.append(OF_LIKE_LENGTH.format("COARSE_BUCKETS" if variant.on_gpu else "BUCKETS"))
    if variant in PLANS:
        preferred = (8, 16) if system.task.has_images else (8,)
        why.append(f"If enough rows wait, a batch has {' or '.join(map(str, preferred))} rows.")
    return pbtxt.comment(" ".join(why)) + pbtxt.queue(QUEUE_SIZE, preferred)


def _picture_settings(system: System, variant: Variant) -> list[str]:
    settings = []
    if variant is CUDA:
        settings = [pbtxt.comment(SEARCH.format("size")) + pbtxt.parameter("cudnn_conv_algo_search", 1)]
    elif variant is TENSORRT:
        settings = [pbtxt.comment(GRAPHS) + _graphs(system)]
    return [*settings, _picture_warmups(system, variant)]


def _graphs(system: System) -> str:
    """Declare a CUDA graph per power of two as batch size; each serves batches above the next smaller one."""
    [first] = system.task.inputs
    dims = ", ".join(map(str, system.shape(first)))
    shape = f'input {{ key: "{first.name}" value: {{ dim: [ {dims} ] }} }}'
    blocks, bound, size = [], 1, 1
    while size <= system.max_batch_size:
        blocks.append(
            f"      {{\n        batch_size: {size} {shape}\n"
            f"        graph_lower_bound {{ batch_size: {bound} {shape} }}\n      }}"
        )
        bound, size = size + 1, size * 2
    return (
        "optimization {\n  cuda {\n    graphs: true\n    graph_spec [\n" + ",\n".join(blocks) + "\n    ]\n  }\n}\n"
    )


def _length_settings(system: System, variant: Variant) -> list[str]:
    settings = []
    if variant is CUDA:
        settings.append(
            pbtxt.comment(SEARCH.format("shape"))
            + pbtxt.parameter("cudnn_conv_algo_search", 1)
            + pbtxt.comment(ARENA)
            + pbtxt.parameter("arena_extend_strategy", 1)
        )
    elif variant in PLANS:
        settings.append(pbtxt.comment(NO_GRAPHS))
    else:
        settings.append(pbtxt.comment(AT_A_TIME) + pbtxt.parameter("values_at_a_time", lengths.AT_A_TIME))
    backend = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}.get(variant.backend)
    elsewhere = LONGEST_IN_RTX if variant is TENSORRT_RTX else LONGEST_IN_PLANS
    why = LONGEST_ROW + (LONGEST_ELSEWHERE.format(backend) if backend else elsewhere)
    settings.append(pbtxt.comment(why) + pbtxt.parameter("most_values", lengths.BUCKETS[-1]))
    return [*settings, _length_warmups(system, variant)]


def _picture_warmups(system: System, variant: Variant) -> str:
    [first] = system.task.inputs
    planned = (1, 8, 16, system.max_batch_size)
    sizes = {**dict.fromkeys(PLANS, planned), CUDA: (1, 2, 4, 8, 16, 32)}.get(variant, (1, 2, 4, 8))
    why = "One row, the preferred batches and the largest." if variant in PLANS else ""
    row = pbtxt.tensor("", first.type, system.shape(first), random_data=True)
    return pbtxt.comment(why) + pbtxt.warmups((f"batch of {n}", n, {first.name: row}) for n in sizes)


def _length_warmups(system: System, variant: Variant) -> str:
    wav, length = system.task.inputs

    def row(samples: int, rows: int, name: str) -> tuple[str, int, dict[str, str]]:
        zeros = {
            wav.name: pbtxt.tensor("", wav.type, [samples], zero_data=True),
            length.name: pbtxt.tensor("", length.type, [1], zero_data=True),
        }
        return f"{name}{lengths.frames_of(samples)} frames", rows, zeros

    if variant.on_gpu:
        why = "Every length, alone and in a batch."
        if variant in PLANS:
            why = "One row and the preferred batch, of every length."
        entries = [row(n, rows, f"{rows} x ") for n in lengths.COARSE_BUCKETS for rows in (1, 8)]
    elif variant is PORTABLE:
        why = (
            "The shortest row, one of ten seconds and the longest: ONNX Runtime prepares nothing per shape, but it"
            " keeps the memory that it has once allocated."
        )
        entries = [row(n, 1, "") for n in (lengths.BUCKETS[0], lengths.TEN_SECONDS, lengths.BUCKETS[-1])]
    else:
        why = "Every shape that can run, because OpenVINO compiles for a shape when it first meets it."
        entries = [
            row(n, rows, f"{rows} x ")
            for n in lengths.BUCKETS
            for rows in (1, 2, 4, 8)
            if rows == 1 or rows * n <= lengths.AT_A_TIME
        ]
    return pbtxt.comment(why) + pbtxt.warmups(entries)
