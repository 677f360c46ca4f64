"""Figures as the benchmarks write them, whose rows and ratios are easily worked out, and the lines of a table."""

from bench import plots


def pipeline(name: str, rates: list[float], **others) -> dict:
    figures = {"what": f"what {name} is", "cpu_ms": 455.4, "memory_mb": None, "mean_batch": None}
    middle = {"rate": sorted(rates)[1], "slowest": min(rates), "fastest": max(rates)}
    return {"name": name, "rates": rates, "agreement": 1.0, "difference": 0.0, **figures, **middle, **others}


# Per round Tritone does 3, 4 and 2.5 times as much as article A: in the median 3, where the medians' ratio is 2.5.
A, PLAIN = pipeline("article A", [4.0, 2.0, 6.0], memory_mb=1402.6), pipeline("plain Triton", [6.0, 4.0, 5.0])
TRITONE = pipeline("Tritone, openvino", [12.0, 8.0, 15.0], agreement=0.875, difference=0.0123, mean_batch=4.31)
IDEALS = [pipeline("ideal, openvino_int8", [99.0, 99.0, 99.0]), pipeline("ideal, openvino", [15.0, 16.0, 15.0])]
HEAD = {"profile": "article-a", "model": "vgg19_bn_cqt", "format": "MP3"}
HEAD |= {"recordings": 16, "rounds": 3, "concurrency": 8}
PARTS = {"prepare_ms": 44.1, "network_ms": 24.2, "batch": 4, "rows": 2.0, "rate": 15.04}
STAGES = dict.fromkeys(plots.STAGES, 1.0) | {"decode": 30.0, "network": 50.0, "ensemble": -4.0}

QUICK = {
    "command": "make bench QUICK=1",
    "date": "2026-11-21",
    "quick": True,
    "machine": r"a machine\d of 2 cores",  # as it stands, also where a regular expression writes it
    "versions": {"python": "3.11.7", "triton": "2.51.0"},
    "comparison": HEAD | {"rows": [A, PLAIN, TRITONE, *IDEALS], "floors": {"openvino": PARTS}},
    "sweep": [
        {"profile": "article-a", "concurrency": c, "rate": r, "p50": 90.4, "p95": 120.0, "p99": 1000.6}
        | {"mean_batch": c / 2, "cpu_ms": 150.0}
        for c, r in ((1, 9.876), (8, 12.34))
    ],
    "open_loop": {
        "limit_ms": 500,
        "rows": [{"offered": 7.0, "rate": 6.0, "p50": 90.0, "p95": 410.4, "p99": 500.0, "mean_batch": 1.2}],
    },
    "stages": {"article-a": STAGES},
    "overhead_ms": 5.123,
    "kernels": [{"what": "cqt 84/512", "ours_ms": 6.1, "librosa_ms": 28.4, "ratio": 4.66, "difference": 2.4e-6}],
    "repeat": {"recordings": 16, "requests": 320, "p50": 2.21, "p95": 3.11, "hit_ratio": 0.9938},
    "memory": {"model": "vgg19_bn_cqt", "variant": "openvino", "load_peak_mb": 1230.4, "ready_mb": 981.0}
    | {"samples": [{"requests": 100, "mb": 1010.0}, {"requests": 2143, "mb": 1019.0}]},
}
ARTICLE_B = HEAD | {"model": "vit_b_16_mel", "profile": "article-b"}
FULL = QUICK | {
    "command": "make bench",
    "quick": False,
    "sweep": QUICK["sweep"] + [row | {"profile": "ccmusic", "concurrency": 4} for row in QUICK["sweep"][:1]],
    "stages": {"article-a": STAGES, "ccmusic": STAGES},
    "comparison_b": ARTICLE_B | {"rows": [pipeline("article B", [5.0, 4.0, 5.0]), TRITONE, *IDEALS]},
    "song": HEAD | {"profile": "ccmusic", "rows": [pipeline("released pipeline", [0.05, 0.04, 0.05]), TRITONE]},
    "formats": [HEAD | {"format": "WAV", "rows": [A, TRITONE]}],
}

SPEECH_MODEL = "emotion2vec_plus_large"
FIRST = [
    {"start": start, "seconds": seconds, "very_first": seconds == 1.3, "first": 1.0, "later": 1.0, "ratio": ratio}
    for start, seconds, ratio in ((0, 1.3, 1.02), (0, 9.4, 1.21), (1, 1.3, 1.12), (1, 9.4, 0.97))
]
SPEECH = {key: FULL[key] for key in ("date", "machine", "versions")} | {
    "command": "python -m bench --only speech",
    "demo_weights": True,
    "speech": HEAD
    | {
        "model": SPEECH_MODEL,
        "recordings": 17,
        "seconds": [3.0, 10.0],
        "rows": [pipeline("article C", [1.0, 1.0, 2.0]), TRITONE],
        "floors": {"openvino": {"prepare_ms": 9.1, "network_ms": 231.0, "batch": 2, "rows": 1.0, "rate": 4.25}},
        "first": FIRST,
        "load": [{"concurrency": c, "p50": 200.4 * c, "p95": 300.4 * c} for c in (1, 8)],
        "memory": {"load_peak_mb": 2900.0, "ready_mb": 2100.0, "seconds": [0.5, 40.0]}
        | {"samples": [{"requests": n, "mb": 2200.0 + k} for k, n in enumerate((50, 150, 250, 550))]},
    },
}


def line(text: str, start: str) -> list[str]:
    """Cells of the table's line that starts so."""
    [found] = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]
