"""Formats parts of a Triton model configuration (protobuf text), with comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

WIDTH = 115
NOTE_COLUMN = 78  # column of the comments at ends of lines


def comment(*paragraphs: str) -> str:
    """Format paragraphs as comment lines; indented paragraphs are not wrapped."""
    lines: list[str] = []
    for paragraph in filter(None, paragraphs):
        lines += [paragraph] if paragraph.startswith(" ") else textwrap.wrap(paragraph, WIDTH - 2)
    return "".join(f"# {line}\n" for line in lines)


def head(name: str, backend: str, max_batch_size: int, file: str = "") -> str:
    """Format name, backend (or platform "ensemble"), batch size and file of a model."""
    kind = "platform" if backend == "ensemble" else "backend"
    lines = [f'name: "{name}"', f'{kind}: "{backend}"', f"max_batch_size: {max_batch_size}"]
    return "\n".join([*lines, *([f'default_model_filename: "{file}"'] if file else [])]) + "\n"


def tensor(name: str, kind: str, dims: Sequence[int], **more: object) -> str:
    """Format a tensor of an input, an output or a warm-up, without braces."""
    fields = [f'name: "{name}"'] if name else []
    fields += [f"data_type: TYPE_{kind}", f"dims: [ {', '.join(map(str, dims))} ]"]
    for key, value in more.items():
        fields.append(f'{key}: "{value}"' if isinstance(value, str) else f"{key}: {str(value).lower()}")
    return " ".join(fields)


def tensors(kind: str, entries: Iterable[tuple[str, str]]) -> str:
    """Format `input` or `output`: tensors and their notes."""
    return listed(kind, [(f"{{ {text} }}", note) for text, note in entries])


def listed(kind: str, entries: Sequence[tuple[str, str]]) -> str:
    """Format a list, one entry and note per line; a list of one entry without a note takes one line."""
    if len(entries) == 1 and not entries[0][1]:
        return f"{kind} [ {entries[0][0]} ]\n"
    lines = []
    for place, (text, note) in enumerate(entries, 1):
        line = f"  {text}{',' if place < len(entries) else ''}"
        lines.append(f"{line:<{NOTE_COLUMN}}# {note}" if note else line)
    return "\n".join([f"{kind} [", *lines, "]"]) + "\n"


def instances(count: int, on_gpu: bool = False) -> str:
    """Format the number and the device of instances."""
    return f"instance_group [ {{ count: {count} kind: KIND_{'GPU' if on_gpu else 'CPU'} }} ]\n"


def queue(size: int, preferred: Sequence[int] = ()) -> str:
    """Format dynamic batching with a bounded queue."""
    lines = [f"  preferred_batch_size: [ {', '.join(map(str, preferred))} ]"] if preferred else []
    lines += [
        "  default_queue_policy {",
        f"    max_queue_size: {size}",
        "    timeout_action: REJECT",
        "    default_timeout_microseconds: 30000000",
        "  }",
    ]
    return "\n".join(["dynamic_batching {", *lines, "}"]) + "\n"


def parameter(key: str, value: object) -> str:
    """Format a parameter of a backend."""
    return f"parameters {{ {_entry(key, value)} }}\n"


def parameters(entries: Iterable[tuple[str, str, str]]) -> str:
    """Format the parameters of a step: key, value, note."""
    return listed("parameters", [(f"{{ {_entry(key, value)} }}", note) for key, value, note in entries])


def _entry(key: str, value: object) -> str:
    quote = "'" if '"' in str(value) else '"'
    return f'key: "{key}" value: {{ string_value: {quote}{value}{quote} }}'


def warmups(entries: Iterable[tuple[str, int, Mapping[str, str]]]) -> str:
    """Format warm-up requests: name, batch size, tensors by name."""
    blocks = []
    for name, rows, inputs in entries:
        lines = [f'    name: "{name}"', f"    batch_size: {rows}"]
        lines += [f'    inputs {{ key: "{key}" value: {{ {text} }} }}' for key, text in inputs.items()]
        blocks.append("\n".join(["  {", *lines, "  }"]))
    return "model_warmup [\n" + ",\n".join(blocks) + "\n]\n"


def ensemble(steps: Iterable[tuple[str, Mapping[str, str], Mapping[str, str]]]) -> str:
    """Format the steps of an ensemble: models with their input and output maps."""
    blocks = []
    for model, inputs, outputs in steps:
        lines = [f'      model_name: "{model}"', "      model_version: -1"]
        lines += [f'      input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs.items()]
        lines += [f'      output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs.items()]
        blocks.append("\n".join(["    {", *lines, "    }"]))
    return "ensemble_scheduling {\n  step [\n" + ",\n".join(blocks) + "\n  ]\n}\n"


def file(*parts: str) -> str:
    """Join parts with an empty line between them, but none after the first, a comment."""
    first, *others = filter(None, parts)
    return first + "\n".join(others)
