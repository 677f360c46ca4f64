"""A Triton that serves `staged`, a system of three steps as the real ones are, its metrics and its cache on."""

import json
import shutil
import signal
import urllib.request
from pathlib import Path

from tests.support.triton import INPUTS, Triton, free_ports

OUTPUTS = """
output [
  { name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "PROBABILITIES" data_type: TYPE_FP32 dims: [ 2 ] },
  { name: "LABELS" data_type: TYPE_STRING dims: [ 2 ] },
  { name: "SLICE_PROBABILITIES" data_type: TYPE_FP32 dims: [ -1, 2 ] }
]
"""
ROWS = '{ name: "ROWS" data_type: TYPE_FP32 dims: [ -1, 1 ] }'
LOGITS = '{ name: "LOGITS" data_type: TYPE_FP32 dims: [ -1, 2 ] }'
INFO = '{ name: "INFO" data_type: TYPE_STRING dims: [ 1 ] }'
QUEUE_SECONDS = 1.0
"""That a request may wait; more than the half a second after which a batcher of 24.10 at times looks again."""
TIMES = {
    "decode": 0.012,
    "spectrogram": 0.006,
    "rest": 0.003,
    "network": 0.024,
    "cold": 0.35,
    "postprocess": 0.009,
}
"""Seconds that the parts of the steps take."""
STEPS = {
    "preprocess": f"""
        max_batch_size: 0 {INPUTS} output [ {ROWS}, {INFO} ]
        dynamic_batching {{ default_queue_policy {{ timeout_action: REJECT
            default_timeout_microseconds: {QUEUE_SECONDS * 1e6:.0f} }} }}""",
    "network": f"max_batch_size: 8 input [ {ROWS} ] output [ {LOGITS} ] dynamic_batching {{ }}".replace(
        "-1, ", ""
    ),
    "postprocess": f"max_batch_size: 0 input [ {LOGITS}, {INFO} ] {OUTPUTS}",
}


def maps(kind: str, *names: str) -> str:
    """Tensors that go into a step, or out of it, under their own names."""
    return " ".join(f'{kind}_map {{ key: "{name}" value: "{name}" }}' for name in names)


GIVEN = ("AUDIO", "PCM", "SAMPLE_RATE", "OPTIONS")
GIVES = ("RESULT", "PROBABILITIES", "LABELS", "SLICE_PROBABILITIES")
ENSEMBLE = f"""
platform: "ensemble" max_batch_size: 0 {INPUTS} {OUTPUTS} response_cache {{ enable: true }}
parameters {{ key: "task" value: {{ string_value: "genre" }} }}
ensemble_scheduling {{ step [
  {{ model_name: "staged_preprocess" model_version: -1 {maps("input", *GIVEN)} {maps("output", "ROWS", "INFO")} }},
  {{ model_name: "staged_network" model_version: -1 {maps("input", "ROWS")} {maps("output", "LOGITS")} }},
  {{ model_name: "staged_postprocess" model_version: -1 {maps("input", "LOGITS", "INFO")}
     {maps("output", *GIVES)} }}
] }}
"""
PYTHON = f"""
backend: "python" instance_group [ {{ count: 1 kind: KIND_CPU }} ]
parameters {{ key: "times" value: {{ string_value: {json.dumps(json.dumps(TIMES))} }} }}
"""


class Staged(Triton):
    """The server; `metrics` is where its metrics are."""

    def __init__(self, folder: Path) -> None:
        models = folder / "models"
        for name, config in {"": ENSEMBLE, **STEPS}.items():
            model = models / f"staged_{name}".rstrip("_")
            (model / "1").mkdir(parents=True)
            (model / "config.pbtxt").write_text(config + PYTHON * bool(name))
            if name:
                shutil.copy(Path(__file__).with_name("staged_model.py"), model / "1" / "model.py")
        port = free_ports(3)[-1]
        super().__init__(folder)
        self.metrics = f"http://127.0.0.1:{port}/metrics"
        self.flags = [
            *("--allow-metrics=true", f"--metrics-port={port}", "--metrics-interval-ms=200"),
            *("--allow-gpu-metrics=false", "--cache-config=local,size=1048576"),
            f"--cache-directory={self.installation.caches}",
        ]

    def ready(self) -> bool:
        """Also its metrics, which Triton begins to serve last."""
        try:
            with urllib.request.urlopen(self.metrics, timeout=1):
                return super().ready()
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)  # in order it takes seconds, and nothing is in flight any more

    def calls(self) -> int:
        """How many requests its preprocess step has begun with."""
        notes = self.repository / "staged_preprocess" / "calls"
        return notes.stat().st_size if notes.exists() else 0
