"""The flags of `python -m server`; each can also be set by an environment variable."""

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
    """Parse the flags; missing ones are read from the environment (--http-port: TRITONE_HTTP_PORT).

    Parameters
    ----------
    arguments : arguments to parse instead of those of this process
    """
    parser = argparse.ArgumentParser(
        prog="python -m server",
        description="Start Triton with the exported systems and keep it healthy. Ctrl-C stops it.",
        epilog="Exit codes: 0 after Ctrl-C or SIGTERM; 2 after an error (one line says which).",
    )

    def flag(name: str, default: object, text: str, **options: Any) -> None:
        variable = "TRITONE_" + name.removeprefix("--").replace("-", "_").upper()
        shown = "" if default in ("", None) else f" Default: {default}."
        # argparse applies `type`, but not `choices`, to string defaults: so `type` checks the environment, too.
        value = os.environ.get(variable, default)
        parser.add_argument(name, default=value, help=f"{text}{shown} [{variable}]", **options)

    flag("--http-port", 8000, "HTTP port; 0 selects a free one.", type=_port)
    flag("--grpc-port", 8001, "gRPC port; 0 selects a free one.", type=_port)
    flag("--metrics-port", 8002, "Port of the Prometheus metrics; 0 selects a free one.", type=_port)
    flag(
        "--host",
        "127.0.0.1",
        "Address to listen on. Triton has no authentication: do not open it to a network, put a proxy that "
        "authenticates in front of it.",
    )
    flag(
        "--model-repository",
        ROOT / "model_repository",
        "Folder of the models to serve, as written by make export.",
        type=Path,
        metavar="DIR",
    )
    flag(
        "--systems",
        "",
        "Comma-separated systems to serve; leave out what you do not need to save memory. Default: all exported.",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        metavar="NAMES",
    )
    flag(
        "--variant",
        "auto",
        "How the networks run: onnxruntime is exact and runs everywhere; openvino is two to six times as fast on "
        "CPUs with AVX512_BF16 or AMX, in bfloat16; tensorrt, tensorrt_rtx and cuda use an NVIDIA GPU, in float16."
        " auto selects one of these and logs the reason. openvino_int8 needs make int8; it is faster still on "
        "CPUs with AVX512_VNNI or AMX, and its answers differ slightly.",
        type=_one_of("auto", *VARIANTS),
        metavar="NAME",
    )
    flag(
        "--tuned",
        "yes",
        "Whether to use the settings that make tune found for this machine, if any: yes or no.",
        type=_one_of("yes", "no"),
        metavar="YES|NO",
    )
    flag(
        "--cache-size",
        256,
        "Size of the response cache in MiB (a few KiB per answer); 0 disables the cache, for measurements.",
        type=_size,
        metavar="MIB",
    )
    flag(
        "--log-level",
        "warning",
        "What Triton logs: error, warning, info (every model that it loads) or verbose (every request).",
        type=_one_of(*LOG_LEVELS),
        metavar="LEVEL",
    )
    flag(
        "--probe-seconds",
        2.0,
        "The launcher sends a probe, one second of sound, to a system that has answered no request for this long; "
        "30 times less often if no client has sent a request for 30 times as long. Longer saves work, shorter "
        "finds a hanging step earlier; a dead process is found at once in any case.",
        type=_seconds,
        metavar="SECONDS",
    )
    flag(
        "--hang-seconds",
        60.0,
        "A system that answers nothing for this long counts as hanging, and Triton is restarted. Choose more than "
        "your longest recording takes.",
        type=_seconds,
        metavar="SECONDS",
    )
    flag(
        "--require-header",
        "no",
        "Whether HTTP inference requires the header 'x-tritone: 1', which a page of another web site cannot send: "
        "yes or no. Our client sends it; for curl and perf_analyzer add -H 'x-tritone: 1'.",
        type=_one_of("yes", "no"),
        metavar="YES|NO",
    )
    flag(
        "--memory-margin",
        2048,
        "MiB by which the memory of Triton and its steps may grow after the start. Triton is restarted when the "
        "growth stays above this for 5 s, or reaches twice this at once.",
        type=_size,
        metavar="MIB",
    )
    flag(
        "--ready-file",
        None,
        "File for scripts: holds ports, process id and variant as JSON while the systems are ready.",
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
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port (0 to 65535)")
    return port


def _size(text: str) -> int:
    size = int(text)
    if size < 0:
        raise argparse.ArgumentTypeError(f"{size} MiB is negative")
    return size
