"""Long sound that arrives in chunks, cut into windows; each window is sent as one recording."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from tritone_client.defaults import EVERY, WINDOW
from tritone_client.errors import InvalidRecording
from tritone_client.transport.request import pcm_tensors

Chunk = bytes | npt.ArrayLike
Samples = tuple[npt.NDArray[np.generic], int]  # a recording, as `Client.classify` takes it
T = TypeVar("T")

SHORTEST_REST = 0.5  # seconds of sound at the end that get an answer of their own
MOST_CHANNELS = 8  # up to here columns are channels even if a short chunk has fewer rows


@dataclass(frozen=True)
class StreamAnswer(Generic[T]):
    """The answer for the sound from `start` to `end` seconds of a stream.

    It has either a `prediction`, or an `error` if the server rejected this part, such as silence.
    """

    start: float
    end: float
    prediction: T | None
    error: InvalidRecording | None


@dataclass(frozen=True)
class Cut:
    """A part of a stream, from `start` to `end` seconds."""

    start: float
    end: float
    recording: Samples


class Windows:
    """The windows of a stream: after every `every` seconds of sound the last `window` seconds, or all so far.

    Keeps at most twice the size of a window, however long the stream or its chunks are.

    Parameters
    ----------
    sample_rate : in Hz.
    every : seconds of sound from one answer to the next.
    window : seconds that an answer covers; if less than `every`, the sound in between is skipped.

    Raises
    ------
    InvalidRecording
        The sample rate is not valid.
    ValueError
        `every` or `window` is not positive.
    """

    def __init__(self, sample_rate: int, every: float = EVERY, window: float = WINDOW) -> None:
        self._check(np.zeros(1, np.int16), sample_rate)
        for name, seconds in {"every": every, "window": window}.items():
            if not 1 <= seconds * sample_rate < float("inf"):
                raise ValueError(f"`{name}` must be a positive number of seconds, not {seconds}.")
        self._sample_rate = int(sample_rate)
        self._every = every * sample_rate
        self._window = round(window * sample_rate)
        self._received = self._answered = self._cuts = 0  # samples, samples, windows
        self._odd = b""  # half a sample, whose other half is in the next chunk
        self._buffer: npt.NDArray[np.generic] | None = None
        self._filled = 0

    def push(self, chunk: Chunk) -> Iterator[Cut]:
        """Yield the windows that end within `chunk`.

        A chunk is bytes of int16, little-endian, mono, or samples as for `classify`. Raises `InvalidRecording` for
        anything else, and for a chunk of another type or shape than those before.
        """
        samples = self._samples(chunk)
        while len(samples) and self._buffer is not None:
            count = round((self._cuts + 1) * self._every) - self._received
            self._keep(self._buffer, samples[:count])
            samples = samples[count:]
            if self._received == round((self._cuts + 1) * self._every):
                self._cuts += 1
                yield self._cut()

    def rest(self) -> Iterator[Cut]:
        """Yield one more window, at the end of the stream, if half a second or more came after the last."""
        if self._received - self._answered >= SHORTEST_REST * self._sample_rate:
            yield self._cut()

    def _samples(self, chunk: Chunk) -> npt.NDArray[np.generic]:
        """Return the chunk as an array, checked."""
        if isinstance(chunk, bytes | bytearray | memoryview):
            data = self._odd + bytes(chunk)
            count = len(data) // 2
            self._odd = data[2 * count :]
            samples: npt.NDArray[np.generic] = np.frombuffer(data, "<i2", count)
        else:
            samples = np.atleast_1d(np.asarray(chunk))
        if not samples.size:
            return samples[:0]
        if self._buffer is None:
            self._check(samples, self._sample_rate)
            self._buffer = np.empty((2 * self._window, *samples.shape[1:]), samples.dtype)
        if (samples.dtype, samples.shape[1:]) != (self._buffer.dtype, self._buffer.shape[1:]):
            kinds = [f"{a.dtype} {['n', *a.shape[1:]]}".replace("'", "") for a in (samples, self._buffer)]
            raise InvalidRecording(f"A chunk is {kinds[0]}, but earlier ones were {kinds[1]}: send all alike.")
        return samples

    @staticmethod
    def _check(samples: npt.NDArray[np.generic], sample_rate: int) -> None:
        """Raise `InvalidRecording` for samples that cannot be part of a recording, however few there are."""
        if samples.ndim < 3 and samples.shape[1:] <= (MOST_CHANNELS,):
            samples = np.zeros((MOST_CHANNELS, *samples.shape[1:]), samples.dtype)
        pcm_tensors(samples, sample_rate)

    def _keep(self, buffer: npt.NDArray[np.generic], samples: npt.NDArray[np.generic]) -> None:
        """Append to the buffer; when it is full, move the samples of future windows to its front."""
        self._received += len(samples)
        samples = samples[-self._window :]
        if self._filled + len(samples) > len(buffer):
            kept = self._window - len(samples)
            buffer[:kept] = buffer[self._filled - kept : self._filled]
            self._filled = kept
        buffer[self._filled : self._filled + len(samples)] = samples
        self._filled += len(samples)

    def _cut(self) -> Cut:
        """Return the window that ends here."""
        assert self._buffer is not None, "samples are kept before a window is cut"
        samples = self._buffer[max(self._filled - self._window, 0) : self._filled].copy()
        self._answered = self._received
        start, end = (n / self._sample_rate for n in (self._received - len(samples), self._received))
        return Cut(start, end, (samples, self._sample_rate))


def answers(chunks: Iterable[Chunk], windows: Windows, ask: Callable[[Samples], T]) -> Iterator[StreamAnswer[T]]:
    """Yield the answer for each window of a stream, in order."""

    def answer(cut: Cut) -> StreamAnswer[T]:
        try:
            return StreamAnswer(cut.start, cut.end, ask(cut.recording), None)
        except InvalidRecording as error:
            return StreamAnswer(cut.start, cut.end, None, error)

    for chunk in chunks:
        yield from map(answer, windows.push(chunk))
    yield from map(answer, windows.rest())


async def answers_async(
    chunks: AsyncIterable[Chunk], windows: Windows, ask: Callable[[Samples], Awaitable[T]]
) -> AsyncIterator[StreamAnswer[T]]:
    """Yield the answer for each window of a stream, like `answers`, in an event loop."""

    async def answer(cut: Cut) -> StreamAnswer[T]:
        try:
            return StreamAnswer(cut.start, cut.end, await ask(cut.recording), None)
        except InvalidRecording as error:
            return StreamAnswer(cut.start, cut.end, None, error)

    async for chunk in chunks:
        for cut in windows.push(chunk):
            yield await answer(cut)
    for cut in windows.rest():
        yield await answer(cut)
