"""A server's counters, and where the time of a recording goes, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tritone_client.display.tables import marked
from tritone_client.monitoring.stages import Timing
from tritone_client.monitoring.statistics import Gpu, Machine, Snapshot, StepStatistics, SystemStatistics
from tritone_client.plain import plain

BAR = 24  # characters of a stage that takes all the time
WIDE = 120  # columns from which on the headings of `tritone stats` are in one line
GB = 1e9

STAGES = (
    "No run was answered from the cache. client: reading the file and the answer. transport: gRPC or HTTP, with "
    "encoding. preprocess, rest: passing data on. queue: waiting, for all steps. ensemble: between the steps."
)

MEANINGS = (
    "total: from a request to its answer, within the server. queue: waiting for a free process. compute: at work; "
    "each request of a batch counts the whole batch. batch: slices or windows that the network computes at once. "
    "Times are means."
)
REASONS = {
    "REJECTED": "REJECTED: waited longer than the queue allows.",
    "CANCELED": "CANCELED: the client disconnected before its turn.",
    "BACKEND": "BACKEND: the step failed on the request; see the server's log.",
}


def statistics_view(
    systems: Sequence[SystemStatistics], snapshot: Snapshot, seconds: float | None, width: int = 120
) -> RenderableType:
    """Return the view of `tritone stats`, for the last `seconds`, or since the server's start if that is None.

    Below `WIDE` columns of `width`, headings have two lines, so that no name is folded.
    """
    if not systems:
        return Text("The server has no Tritone systems.")
    columns = ["answered", *(["per second"] if seconds else []), "failed", "from cache"]
    columns += ["total, ms", "queue, ms", "compute, ms", "batch, rows"]
    if width < WIDE:
        columns = [column.replace(", ", "\n").replace(" ", "\n") for column in columns]
    gap = 2 if width >= WIDE else 1
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
    table.add_column("system, step", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
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
            table.add_row(f"  {step.step}", *blank, failed(step), "", "", *step_cells(step))
    since = (
        f"In the last {seconds:.1f} s."
        if seconds
        else "Since the server's start, including its warm-up and self-tests; --watch shows what happens now."
    )
    seen = {reason for system in systems for step in system.steps for reason in step.failures}
    notes = " ".join([since, MEANINGS, *(text for reason, text in REASONS.items() if reason in seen)])
    lines = [*failure_lines(systems), *machine_lines(snapshot.machine, snapshot.gpus)]
    return Group(table, *lines, Text(notes, style="dim"))


def failed(step: StepStatistics) -> str:
    """Return the number of a step's failures, empty without any."""
    return str(sum(step.failures.values()) or "")


def failure_lines(systems: Sequence[SystemStatistics]) -> list[Text]:
    """Return `vgg19_bn_cqt, network: 3 REJECTED, 1 CANCELED.` for each step with failures."""
    return [
        Text(plain(f"{system.system}, {step.step}: {reasons}."), style="red")
        for system in systems
        for step in system.steps
        if (reasons := ", ".join(f"{count} {reason}" for reason, count in sorted(step.failures.items())))
    ]


def step_cells(step: StepStatistics) -> list[str]:
    """Return the times of a step, and its batch size if it has one."""
    batch = number(step.batch) if step.step in ("network", "explain") else ""
    return [number(step.queue_ms), number(step.compute_ms), batch]


def number(value: float | None) -> str:
    """Return a number with one decimal, and a dash for None."""
    return "–" if value is None else f"{value:.1f}"


def machine_lines(machine: Machine | None, gpus: Sequence[Gpu]) -> list[Text]:
    """Return a line for the machine and one for each GPU."""
    lines = []
    if machine:
        memory = f"{machine.memory_used / GB:.1f} of {machine.memory_total / GB:.1f} GB"
        lines.append(Text(f"Machine: CPU {machine.cpu:.0%}, memory {memory}."))
    for i, gpu in enumerate(gpus):
        memory = f"{gpu.memory_used / GB:.1f} of {gpu.memory_total / GB:.1f} GB"
        lines.append(Text(f"GPU {i}: {gpu.use:.0%}, memory {memory}, {gpu.power:.0f} W ({plain(gpu.uuid)})."))
    return lines


def timing_view(file: str, timing: Timing) -> RenderableType:
    """Return the view of `tritone timing`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    table.add_column("", style="green", no_wrap=True)
    for stage, ms in timing.stages.items():
        share = ms / timing.ms
        table.add_row(marked(stage), f"{ms:.2f}", f"{share:.1%}", "━" * round(BAR * max(share, 0)))
    table.add_row("all", f"{timing.ms:.2f}", "100.0%", style="bold")
    count = len(timing.runs)
    span = f", {min(timing.runs):.1f} to {max(timing.runs):.1f} ms," if count > 1 else ""
    how = f"{file} by {timing.model}: mean of {plural(count, 'run')}{span} after a warm-up run."
    lines = [Text(plain(verdict(timing))), Text(plain(f"{how} {STAGES}"), style="dim")]
    if timing.others:
        others = plural(timing.others, "other request")
        note = f"Note: the server's stages include at least {others}, of other clients or its self-tests."
        lines.append(Text(note, style="yellow"))
    return Group(table, *lines)


def plural(count: int, word: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{count} {word}{'s' * (count != 1)}"


def verdict(timing: Timing) -> str:
    """Return what takes the most time, and what would shorten it, in one sentence."""
    ends, served = ("client", "transport"), ("queue", "network", "postprocess", "ensemble")
    preprocessing = {stage: ms for stage, ms in timing.stages.items() if stage not in (*ends, *served)}
    parts = {name: timing.stages[name] for name in served}
    parts |= {"preprocess": sum(preprocessing.values()), "transfer": sum(timing.stages[end] for end in ends)}
    part = max(parts, key=lambda name: parts[name])
    share = f"{parts[part] / timing.ms:.0%}"
    if part == "network":
        runtime = timing.runtime
        where = f" ({runtime.precision} on {runtime.device})" if runtime else ""
        faster = "a lower precision" if runtime and runtime.device != "CPU" else "a GPU or a lower precision"
        return f"The network takes {share}{where}: {faster} may help; concurrent requests share its batches."
    if part == "preprocess":
        most = max(preprocessing, key=lambda stage: preprocessing[stage])
        return (
            f"Preprocessing takes {share}, most of it {most}: on one core, but recordings in flight use several."
        )
    if part == "queue":
        return f"Waiting takes {share}: other clients use the server."
    if part == "transfer":
        return f"Transfer takes {share}: a smaller file, or a nearer server, would shorten it."
    if part == "postprocess":
        return f"Postprocessing takes {share}: it computes the explanations."
    return f"Passing data between the steps takes {share}."
