"""Compares the FP16 network in ONNX Runtime, as variant `cuda` runs it, with float32 on the CPU."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from answers.activation import ACTIVATIONS
from bench.gpu_check.check import Check, Rows
from bench.ideal import load_network
from bench.onnx_session import SERVED, open_session
from server.variants import PORTABLE
from systems import SYSTEMS

BATCHES = (1, 8, 32)
CALLS = 10


def session(check: Check) -> dict[str, Any]:
    """Return the difference of the FP16 network from float32, ms per call by rows, and the nodes per provider."""
    rows, file = check.rows(), check.network.fp16.path
    probabilities = ACTIVATIONS[SYSTEMS[check.system].activation]
    expected = probabilities(load_network(check.network.folder, PORTABLE)(rows))
    opened = open_session(file, check.device, SERVED)
    name = opened.get_inputs()[0].name
    found = probabilities(opened.run(["LOGITS"], {name: rows})[0])
    ms = {}
    for batch in check.some(BATCHES):
        chunk, taken = np.resize(rows, (batch, *rows.shape[1:])), []
        for _ in range(1 + CALLS):
            start = time.perf_counter()
            opened.run(["LOGITS"], {name: chunk})
            taken.append((time.perf_counter() - start) * 1e3)
        ms[batch] = round(statistics.median(taken[1:]), 3)
    return {
        "rows": len(rows),
        "same": float((found.argmax(1) == expected.argmax(1)).mean()),
        "difference": round(float(np.abs(found - expected).max()), 5),
        "ms": ms,
        "nodes": nodes(file, check.device, rows[:1]),
    }


def nodes(file: Path, device: str, rows: Rows) -> dict[str, dict[str, int]]:
    """Return provider -> operator -> number of nodes that ran there, from ONNX Runtime's profile of one call."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        settings.profile_file_prefix = f"{folder}/profile"
        opened = open_session(file, device, SERVED, settings)
        opened.run(["LOGITS"], {opened.get_inputs()[0].name: rows})
        events = json.loads(Path(opened.end_profiling()).read_text())
    ran = {event["name"]: event["args"] for event in events if event["name"].endswith("_kernel_time")}
    counted = Counter((args["provider"], args["op_name"]) for args in ran.values())
    found: dict[str, dict[str, int]] = {}
    for (provider, kind), number in sorted(counted.items()):
        found.setdefault(provider, {})[kind] = number
    return found
