"""What a server counts, and where the time of a recording goes, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tritone_client.display.tables import marked
from tritone_client.monitoring.stages import Profile
from tritone_client.monitoring.statistics import Gpu, Machine, Snapshot, StepStatistics, SystemStatistics
from tritone_client.plain import plain

BAR = 24  # characters of a stage that takes all the time
GB = 1e9

STAGES = (
    "None was answered from the cache. client: reading the file and the answer. transport: gRPC or HTTP, with its "
    "packing. preprocess, rest: handing over. queue: waiting for all steps. ensemble: between them."
)

MEANINGS = (
    "whole: from a request to its answer, within the server. queue: waiting until a process is free. compute: at "
    "work; a request of a batch counts all of the batch. batch: slices or windows that the network takes at once. "
    "Times are means."
)
REASONS = {
    "REJECTED": "REJECTED: waited longer than the queue allows.",
    "CANCELED": "CANCELED: its client went away before it was its turn.",
    "BACKEND": "BACKEND: the step broke down over it; the server's log says why.",
}


def statistics_view(
    systems: Sequence[SystemStatistics], snapshot: Snapshot, seconds: float | None
) -> RenderableType:
    """What `tritone stats` shows: of the last `seconds`, or since the server's start where that is None."""
    if not systems:
        return Text("The server has no systems of Tritone.")
    columns = ["answered", *(["per second"] if seconds else []), "failed", "from cache"]
    columns += ["whole, ms", "queue, ms", "compute, ms", "batch, rows"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("system, step", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    for system in systems:
        lookups = system.cache_hits + system.cache_misses
        table.add_row(
            marked(system.system),
            str(system.answered),
            *([f"{system.answered / seconds:.1f}"] if seconds else []),
            str(system.failed),
            f"{system.cache_hits / lookups:.0%}" if lookups else "",
            number(system.ms),
            style="bold",
        )
        for step in system.steps:
            blank = [""] * (2 if seconds else 1)
            table.add_row(f"  {step.step}", *blank, marked(failures(step)), "", "", *step_cells(step))
    since = (
        f"In the last {seconds:.1f} s."
        if seconds
        else "Since the server's start, with its warm-up and its tests of itself; --watch shows what happens now."
    )
    seen = {reason for system in systems for step in system.steps for reason in step.failures}
    notes = " ".join([since, MEANINGS, *(text for reason, text in REASONS.items() if reason in seen)])
    return Group(table, *machine_lines(snapshot.machine, snapshot.gpus), Text(notes, style="dim"))


def failures(step: StepStatistics) -> str:
    """`3 REJECTED, 1 CANCELED` for a step, empty where it had none."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(step.failures.items()))


def step_cells(step: StepStatistics) -> list[str]:
    """Times of a step, and its batch where it has any."""
    batch = number(step.batch) if step.step in ("network", "explain") else ""
    return [number(step.queue_ms), number(step.compute_ms), batch]


def number(value: float | None) -> str:
    """With a decimal, and a dash where there was nothing to be measured."""
    return "–" if value is None else f"{value:.1f}"


def machine_lines(machine: Machine | None, gpus: Sequence[Gpu]) -> list[Text]:
    """A line for the machine and one for each GPU."""
    lines = []
    if machine:
        memory = f"{machine.memory_used / GB:.1f} of {machine.memory_total / GB:.1f} GB"
        lines.append(Text(f"Machine: CPU {machine.cpu:.0%}, memory {memory}."))
    for i, gpu in enumerate(gpus):
        memory = f"{gpu.memory_used / GB:.1f} of {gpu.memory_total / GB:.1f} GB"
        lines.append(Text(f"GPU {i}: {gpu.use:.0%}, memory {memory}, {gpu.power:.0f} W ({plain(gpu.uuid)})."))
    return lines


def profile_view(file: str, found: Profile) -> RenderableType:
    """What `tritone profile` shows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    table.add_column("", style="green", no_wrap=True)
    for stage, ms in found.stages.items():
        share = ms / found.ms
        table.add_row(marked(stage), f"{ms:.2f}", f"{share:.1%}", "━" * round(BAR * max(share, 0)))
    table.add_row("all", f"{found.ms:.2f}", "100.0%", style="bold")
    count = len(found.runs)
    span = f", {min(found.runs):.1f} to {max(found.runs):.1f} ms," if count > 1 else ""
    how = f"{file} by {found.model}: mean of {plural(count, 'run')}{span} after one that is not counted."
    lines = [Text(plain(verdict(found))), Text(plain(f"{how} {STAGES}"), style="dim")]
    if found.others:
        others = plural(found.others, "request")
        note = f"Note: at least {others} of others came in between: the server's stages are means of theirs, too."
        lines.append(Text(note, style="yellow"))
    return Group(table, *lines)


def plural(count: int, word: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {word}{'s' * (count != 1)}"


def verdict(found: Profile) -> str:
    """What takes the time, and what would shorten it, in one sentence."""
    ends, served = ("client", "transport"), ("queue", "network", "postprocess", "ensemble")
    preparing = {stage: ms for stage, ms in found.stages.items() if stage not in (*ends, *served)}
    parts = {name: found.stages[name] for name in served}
    parts |= {"preparing": sum(preparing.values()), "way": sum(found.stages[end] for end in ends)}
    part = max(parts, key=lambda name: parts[name])
    share = f"{parts[part] / found.ms:.0%}"
    if part == "network":
        runtime = found.runtime
        where = f" ({runtime.precision} on {runtime.device})" if runtime else ""
        faster = "a lower precision" if runtime and runtime.device != "CPU" else "a GPU or a lower precision"
        return f"The network takes {share}{where}: {faster} may help; requests at once share its batches."
    if part == "preparing":
        most = max(preparing, key=lambda stage: preparing[stage])
        return f"Preparing takes {share}, most of it {most}: on one core, so that recordings in flight use more."
    if part == "queue":
        return f"Waiting takes {share}: others use the server."
    if part == "way":
        return (
            f"The way there and back takes {share}: a smaller file, or a server that is nearer, would shorten it."
        )
    if part == "postprocess":
        return f"Postprocess takes {share}: it is where explanations are made."
    return f"Passing on between the steps takes {share}."
