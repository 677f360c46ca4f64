"""Reads the statistics of a model from Triton."""

from __future__ import annotations

import json
import urllib.request

from tritone_client.monitoring import statistics

from server.embedded import Embedded


class Counts(statistics.Counts):
    """Sums since the start of the server; the difference of two counts the events between them."""

    @classmethod
    def of(cls, server: Embedded, model: str) -> Counts:
        """Return the model's current sums."""
        with urllib.request.urlopen(f"http://{server.http}/v2/models/{model}/stats") as answer:
            sums = cls.of_statistics(json.load(answer)["model_stats"][0])
        return cls(**vars(sums))
