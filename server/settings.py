"""The flags of `python -m server`, each with a twin in the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.installation import ROOT
from server.variants import VARIANTS

LOG_LEVELS = ("error", "warning", "info", "verbose")


def parse_settings(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the flags; what is not given comes from the environment (--http-port: TRITONE_HTTP_PORT).

    Parameters
    ----------
    arguments : instead of those of this process
    """
    parser = argparse.ArgumentParser(
        prog="python -m server",
        description="Start Triton with the exported systems, keep it whole, and stop it with Ctrl-C.",
        epilog="Exit codes: 0 stopped as asked, 2 could not start or could not be kept alive (one line says why).",
    )

    def flag(name: str, default: object, text: str, **options: Any) -> None:
        twin = "TRITONE_" + name.removeprefix("--").replace("-", "_").upper()
        shown = "" if default in ("", None) else f" Default: {default}."
        # argparse applies `type`, and not `choices`, to defaults that are strings: it checks the environment too.
        parser.add_argument(name, default=os.environ.get(twin, default), help=f"{text}{shown} [{twin}]", **options)

    flag("--http-port", 8000, "HTTP port; 0 takes a free one. Change it when another program has it.", type=_port)
    flag("--grpc-port", 8001, "gRPC port; 0 takes a free one.", type=_port)
    flag("--metrics-port", 8002, "Port of the Prometheus metrics; 0 takes a free one.", type=_port)
    flag(
        "--host",
        "127.0.0.1",
        "Address to listen on. Triton asks nobody who they are: put a proxy that does before it, do not open it "
        "to a network.",
    )
    flag(
        "--model-repository",
        ROOT / "model_repository",
        "What Triton serves, as written by make export.",
        type=Path,
        metavar="DIR",
    )
    flag(
        "--systems",
        "",
        "Systems to serve, separated by commas, if others that are exported only use memory. Default: all.",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        metavar="NAMES",
    )
    flag(
        "--variant",
        "auto",
        "How the networks run: onnxruntime is exact and runs everywhere, openvino is two to six times as fast, in "
        "bfloat16, on CPUs with AVX512_BF16 or AMX; tensorrt, tensorrt_rtx and cuda use an NVIDIA GPU, in float16."
        " auto chooses between these and says why. openvino_int8 is faster still on CPUs with AVX512_VNNI or AMX; "
        "its answers differ a little, and it needs make int8.",
        type=_one_of("auto", *VARIANTS),
        metavar="NAME",
    )
    flag(
        "--tuned",
        "yes",
        "Whether to use the settings that make tune has found for this machine, where there are: yes or no.",
        type=_one_of("yes", "no"),
        metavar="YES|NO",
    )
    flag(
        "--cache-size",
        256,
        "MiB for answers to recordings seen before (a few KiB each); 0 turns that off, for measuring.",
        type=_size,
        metavar="MIB",
    )
    flag(
        "--log-level",
        "warning",
        "What Triton prints: error, warning, info (every model loading) or verbose (every request).",
        type=_one_of(*LOG_LEVELS),
        metavar="LEVEL",
    )
    flag(
        "--probe-seconds",
        2.0,
        "A system that has answered nobody for so long is asked to classify a second of sound. Longer saves the "
        "machine that work, shorter finds a hanging step earlier; dead ones are found at once in any case.",
        type=_seconds,
        metavar="SECONDS",
    )
    flag(
        "--hang-seconds",
        60.0,
        "A system in which nothing is answered for so long counts as hanging, and Triton is started anew. Longer "
        "than your longest recording takes.",
        type=_seconds,
        metavar="SECONDS",
    )
    flag(
        "--require-header",
        "no",
        "Whether HTTP inference needs the header 'x-tritone: 1', which the page of another web site cannot send: "
        "yes or no. Our client sends it; curl and perf_analyzer take -H 'x-tritone: 1'.",
        type=_one_of("yes", "no"),
        metavar="YES|NO",
    )
    flag(
        "--memory-margin",
        2048,
        "MiB by which Triton and its steps may grow beyond what they hold after the start; above it for 5 s, or "
        "above twice as much at once, Triton is started anew.",
        type=_size,
        metavar="MIB",
    )
    flag(
        "--ready-file",
        None,
        "File that holds ports, process id and variant as JSON while the systems answer; for scripts.",
        type=Path,
        metavar="FILE",
    )
    return parser.parse_args(arguments)


def _one_of(*names: str) -> Callable[[str], str]:
    def name(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}")
        return text

    return name


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above zero")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port (0 to 65535)")
    return port


def _size(text: str) -> int:
    size = int(text)
    if size < 0:
        raise argparse.ArgumentTypeError(f"{size} MiB is less than nothing")
    return size
