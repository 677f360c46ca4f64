"""What Triton counts of a model, from its statistics interface."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, fields

from bench.embedded import Embedded


@dataclass(frozen=True)
class Counts:
    """Sums since the start of the server; the difference of two is what happened between them.

    Attributes
    ----------
    requests : answered requests, from the cache or not
    rows, executions : of the model itself, so rows / executions is the mean batch
    total, queue, infer : seconds of all requests together: whole, waiting, computing
    hits, misses : of the response cache
    """

    requests: int
    rows: int
    executions: int
    total: float
    queue: float
    infer: float
    hits: int
    misses: int

    @classmethod
    def of(cls, server: Embedded, model: str) -> Counts:
        """The model's sums now."""
        with urllib.request.urlopen(f"http://{server.http}/v2/models/{model}/stats") as answer:
            model_statistics = json.load(answer)["model_stats"][0]
        sums = model_statistics["inference_stats"]
        return cls(
            requests=sums["success"]["count"],
            rows=model_statistics["inference_count"],
            executions=model_statistics["execution_count"],
            total=sums["success"]["ns"] / 1e9,
            queue=sums["queue"]["ns"] / 1e9,
            infer=sums["compute_infer"]["ns"] / 1e9,
            hits=sums["cache_hit"]["count"],
            misses=sums["cache_miss"]["count"],
        )

    def __sub__(self, earlier: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)))
