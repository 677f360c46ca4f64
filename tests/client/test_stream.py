"""Streams: which windows are cut, whatever the chunks, and that both clients ask about them in turn."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import numpy as np
import pytest
from tritone_client import Client, InferenceFailed, InvalidRecording
from tritone_client.aio import AsyncClient
from tritone_client.stream import Chunk, Cut, StreamAnswer, Windows, answers

from tests.support.triton import Triton

RATE = 100
RANDOM = np.random.default_rng(7)


def cut(chunks: Iterable[Chunk], windows: Windows) -> list[Cut]:
    return [part for chunk in chunks for part in windows.push(chunk)] + list(windows.rest())


def expected(samples: np.ndarray, every: float, window: float) -> list[tuple[float, float, np.ndarray]]:
    """The definition, on the whole source."""
    ends = [round(n * (every * RATE)) for n in range(1, int(len(samples) / (every * RATE)) + 1)]
    if len(samples) - (ends[-1] if ends else 0) >= RATE / 2:
        ends.append(len(samples))
    parts = [(max(end - round(window * RATE), 0), end) for end in ends]
    return [(start / RATE, end / RATE, samples[start:end]) for start, end in parts]


def in_chunks(samples: np.ndarray, longest: int) -> list[np.ndarray]:
    """Chunks of 0 to `longest` samples."""
    edges = np.cumsum(RANDOM.integers(0, longest + 1, size=3 * len(samples) // longest + 3))
    return np.split(samples, edges[edges < len(samples)])


SOURCES = {
    "int16": RANDOM.integers(-(2**15), 2**15, 4321).astype(np.int16),
    "float32": RANDOM.uniform(-1, 1, 4350).astype(np.float32),
    "stereo": RANDOM.uniform(-1, 1, (4399, 2)),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("longest", [1, 7, 333, 5000])
@pytest.mark.parametrize(("every", "window"), [(10, 30), (1, 3.5), (3, 2), (0.333, 1), (5, 5), (60, 30)])
def test_windows_are_the_same_whatever_the_chunks(source: str, longest: int, every: float, window: float):
    samples = SOURCES[source]
    parts = cut(in_chunks(samples, longest), Windows(RATE, every, window))
    wanted = expected(samples, every, window)
    assert [(part.start, part.end) for part in parts] == [(start, end) for start, end, _ in wanted]
    for part, (_, _, recording) in zip(parts, wanted, strict=True):
        assert part.recording[1] == RATE and part.recording[0].dtype == samples.dtype
        assert np.array_equal(part.recording[0], recording)


@pytest.mark.parametrize("longest", [1, 3, 1001])
def test_bytes_are_samples_wherever_they_are_torn(longest: int):
    data = SOURCES["int16"].astype("<i2").tobytes()
    edges = range(0, len(data), longest)
    parts = cut((data[start : start + longest] for start in edges), Windows(RATE, 10, 30))
    wanted = expected(SOURCES["int16"], 10, 30)
    assert len(parts) == len(wanted) == 5
    assert all(np.array_equal(p.recording[0], w[2]) for p, w in zip(parts, wanted, strict=True))


@pytest.mark.parametrize(("length", "ends"), [(0, []), (49, []), (50, [0.5]), (1000, [10]), (1049, [10])])
def test_the_rest_is_answered_if_it_is_long_enough(length: int, ends: list[float]):
    assert [part.end for part in cut([np.zeros(length)], Windows(RATE))] == ends


def test_empty_chunks_are_nothing():
    parts = cut([[], b"", b"\1\0" * RATE, [], np.zeros((0, 2)), b""], Windows(RATE, 1))
    assert [(part.end, len(part.recording[0])) for part in parts] == [(1, RATE)]


def test_a_reused_buffer_does_no_harm():
    """As sound cards give it: one array, filled again and again."""
    windows, buffer, ends = Windows(RATE, 1, 3), np.zeros(RATE, np.int16), []
    for second in range(5):
        buffer[:] = second
        ends += [part.recording[0] for part in windows.push(buffer)]
    assert [end[::RATE].tolist() for end in ends] == [[0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_memory_is_bounded_by_the_window():
    """Two hours in one chunk and in small ones: 58 MB of sound through windows of 0.48 MB."""
    rate, hour = 4000, np.zeros(3600 * 4000, np.int16)
    windows = Windows(rate, 10, 60)
    tracemalloc.start()
    try:
        number = sum(1 for _ in windows.push(hour))
        number += sum(1 for start in range(0, len(hour), 3999) for _ in windows.push(hour[start : start + 3999]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number == 720 and peak < 5 * 60 * rate * 2  # a buffer of two windows, the last cut and the next


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([np.zeros(10, np.int32)], "float or int16, not int32"),
        ([np.zeros((2, 500))], r"\[2, 500\] look like \[channels, n\]"),
        ([np.zeros((2, 2, 2))], r"not \[2, 2, 2\]"),
        ([b"1234", np.zeros(5)], r"float64 \[n\], but earlier ones were int16 \[n\]"),
        ([np.zeros((5, 2)), np.zeros(5)], r"float64 \[n\], but earlier ones were float64 \[n, 2\]"),
    ],
)
def test_chunks_that_are_no_sound(chunks: list[Chunk], message: str):
    with pytest.raises(InvalidRecording, match=message):
        cut(chunks, Windows(RATE))


def test_arguments_that_are_no_numbers_of_seconds():
    for arguments in [(0, 30), (-1, 30), (10, 0), (10, float("nan")), (float("inf"), 30), (0.001, 30)]:
        with pytest.raises(ValueError, match="must be a positive number of seconds"):
            Windows(RATE, *arguments)
    with pytest.raises(InvalidRecording, match="sample rate"):
        Windows(0)


def test_a_refused_window_does_not_end_the_stream():
    def ask(recording: tuple[np.ndarray, int]) -> float:
        if not recording[0].any():
            raise InvalidRecording("The recording is silent.")
        return recording[0].max()

    source = np.repeat([1.0, 0.0, 0.0, 2.0], RATE)
    got = list(answers([source], Windows(RATE, 1, 1), ask))
    assert [(a.start, a.end, a.prediction, a.error and str(a.error)) for a in got] == [
        (0, 1, 1.0, None),
        (1, 2, None, "The recording is silent."),
        (2, 3, None, "The recording is silent."),
        (3, 4, 2.0, None),
    ]


def streamed(url: str, method: str, chunks: list[Chunk], **arguments: Any) -> list[StreamAnswer[Any]]:
    """The answers of `Client`."""
    with Client(url) as client:
        return list(getattr(client, f"{method}_stream")(chunks, **arguments))


def streamed_async(url: str, method: str, chunks: list[Chunk], **arguments: Any) -> list[StreamAnswer[Any]]:
    """The answers of `AsyncClient`."""

    async def arriving() -> AsyncIterator[Chunk]:
        for chunk in chunks:
            await asyncio.sleep(0)
            yield chunk

    async def main() -> list[StreamAnswer[Any]]:
        async with AsyncClient(url) as client:
            return [answer async for answer in getattr(client, f"{method}_stream")(arriving(), **arguments)]

    return asyncio.run(main())


both = pytest.mark.parametrize("stream", [streamed, streamed_async])


@both
def test_each_window_is_classified(triton: Triton, stream: Callable[..., list[StreamAnswer[Any]]]):
    chunks: list[Chunk] = in_chunks(SOURCES["stereo"], 100)
    got = stream(triton.grpc, "classify", chunks, sample_rate=RATE, window=20, top_k=1, profile="article-a")
    with Client(triton.grpc) as client:
        for answer, (start, end, samples) in zip(got, expected(SOURCES["stereo"], 10, 20), strict=True):
            assert (answer.start, answer.end, answer.error) == (start, end, None)
            assert answer.prediction.raw == client.classify((samples, RATE), top_k=1, profile="article-a").raw
            assert answer.prediction.raw["echo"]["pcm_samples"] == len(samples)


@both
def test_each_window_is_asked_for_emotions(triton: Triton, stream: Callable[..., list[StreamAnswer[Any]]]):
    arguments = {"sample_rate": RATE, "every": 2, "granularity": "frame", "embedding": True, "smoothing": 1.0}
    got = stream(triton.grpc, "emotion", [bytes(2 * 5 * RATE)], **arguments)
    assert [answer.end for answer in got] == [2, 4, 5]
    for answer in got:
        assert answer.prediction.frame_scores.shape == (2, 9)
        assert answer.prediction.frame_embeddings.shape == (2, 1024)
        assert answer.prediction.raw["echo"]["options"] == {"frame_embeddings": True, "smoothing": 1.0}


@both
def test_only_refused_recordings_let_the_stream_go_on(
    triton: Triton, stream: Callable[..., list[StreamAnswer[Any]]]
):
    chunks = [np.zeros(25 * RATE, np.int16)]
    refused = stream(triton.grpc, "classify", chunks, sample_rate=RATE, behave="invalid")
    assert [(a.prediction, str(a.error)[:27]) for a in refused] == [(None, "The recording is 3 bytes of")] * 3
    with pytest.raises(InferenceFailed):
        stream(triton.grpc, "classify", chunks, sample_rate=RATE, behave="internal")
