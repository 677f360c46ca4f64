"""The recordings that visitors send, on disk and in memory, both with limits.

A page has many visitors, some of them malicious: the disk space and memory of all together are bounded.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tritone_client.defaults import WEB_QUOTA_MB
from tritone_client.display.texts import Language
from tritone_client.web.texts import PAGE

LIMIT_MB = 64  # maximum size of a recording, also that of the systems
MEMORY_MB = 128  # of all recordings that are being sent; each is in memory about five times meanwhile
BLOCK = 4096  # bytes that the smallest file takes on disk
TURN_SECONDS = 60  # how long a question waits for memory
KEPT_SECONDS = 3600  # how long an upload is kept


class Refused(Exception):
    """A recording that the page rejects; `reason` is a key of the page's texts, `values` fill its braces."""

    def __init__(self, reason: str, **values: object) -> None:
        super().__init__(reason)
        self.reason, self.values = reason, values

    def sentence(self, language: Language) -> str:
        """Return the reason in the visitor's language."""
        return PAGE[language][self.reason].format(**self.values)


class MemoryBudget:
    """At most `most` bytes at a time, for the tasks of one event loop.

    A task waits until enough bytes are free; tasks are served in the order in which they arrive.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self._first = asyncio.Lock()  # its holder is next, so that small tasks do not overtake a large one forever
        self._released = asyncio.Event()

    @asynccontextmanager
    async def take(self, size: int, seconds: float) -> AsyncIterator[None]:
        """Reserve `size` bytes. Raises `Refused` if they are not free within `seconds`."""
        try:
            await asyncio.wait_for(self._wait(size), seconds)
        except asyncio.TimeoutError:  # not an alias of TimeoutError before Python 3.11
            raise Refused("crowded") from None
        try:
            yield
        finally:
            self.taken -= size
            self._released.set()

    async def _wait(self, size: int) -> None:
        async with self._first:
            while self.taken + size > self.most:
                self._released.clear()
                await self._released.wait()
            self.taken += size


@dataclass
class Upload:
    """A file that a visitor has sent, or is sending."""

    path: Path
    size: int = 0
    users: int = 0  # questions about it, and the request that is sending it
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def used(self) -> Iterator[Path]:
        """Give its path; the file is not deleted meanwhile."""
        self.users += 1
        try:
            yield self.path
        finally:
            self.users -= 1


class Uploads:
    """The files that visitors may ask about: their uploads, which are in `folder`, and the examples.

    Uploads take at most `quota` MB: to make room, the oldest ones that are not in use are deleted.
    """

    def __init__(self, folder: Path, examples: Sequence[Path], quota: int = WEB_QUOTA_MB) -> None:
        self.folder, self.examples, self.quota = folder, list(examples), quota << 20
        self.limit = min(LIMIT_MB, quota)
        self.memory = MemoryBudget(MEMORY_MB << 20)
        self._kept: dict[str, Upload] = {}  # the oldest first
        self._total = 0  # bytes of them

    async def add(self, chunks: AsyncIterable[bytes]) -> str:
        """Keep an upload, and return its name for questions. Raises `Refused` if there is no room for it."""
        name = secrets.token_urlsafe(16)
        upload = self._kept[name] = Upload(self.folder / name)
        try:
            with upload.used() as path, path.open("xb") as file:
                self._grow(upload, BLOCK)
                async for chunk in chunks:
                    self._grow(upload, len(chunk))
                    await asyncio.to_thread(file.write, chunk)
        except BaseException:  # also if the visitor disconnects while sending
            self._delete(name)
            raise
        return name

    @asynccontextmanager
    async def read(self, source: Mapping[str, object], seconds: float = TURN_SECONDS) -> AsyncIterator[bytes]:
        """Give the content of `{"example": n}` or `{"upload": name}`, as soon as there is memory for it.

        Raises `Refused` if it was deleted or is too large, or if no memory is free within `seconds`.
        """
        with self._use(source) as path:
            size = size_of(path)
            if size > self.limit << 20:
                raise Refused("too_large", size=f"{size / 2**20:.0f}", limit=self.limit)
            async with self.memory.take(size, seconds):
                yield await asyncio.to_thread(content, path, size)

    def example(self, source: Mapping[str, object]) -> Path | None:
        """Return the path of the example that a browser names; None if it names none."""
        index = source.get("example")
        return self.examples[index] if isinstance(index, int) and 0 <= index < len(self.examples) else None

    def name(self, source: Mapping[str, object]) -> str:
        """Return the file name of the recording that a browser names."""
        example, name = self.example(source), source.get("name")
        return example.name if example else name if isinstance(name, str) and name else "song.mp3"

    def sweep(self, seconds: float = KEPT_SECONDS) -> None:
        """Delete the uploads that are older than `seconds` and not in use."""
        before = time.monotonic() - seconds
        for name in [name for name, upload in self._kept.items() if upload.began < before and not upload.users]:
            self._delete(name)

    @contextmanager
    def _use(self, source: Mapping[str, object]) -> Iterator[Path]:
        """Give the path of the file that a browser names. Raises `Refused` for anything that does not exist."""
        example, name = self.example(source), source.get("upload")
        if example:
            yield example
        elif isinstance(name, str) and name in self._kept:
            with self._kept[name].used() as path:
                yield path
        else:
            raise Refused("gone")

    def _grow(self, upload: Upload, size: int) -> None:
        """Count `size` further bytes of an upload, and delete the oldest uploads if they exceed the quota.

        Raises `Refused` if all other uploads are in use.
        """
        while self._total + size > self.quota:
            oldest = next((name for name, kept in self._kept.items() if not kept.users), None)
            if oldest is None:
                raise Refused("no_room", quota=self.quota >> 20)
            self._delete(oldest)
        upload.size += size
        self._total += size

    def _delete(self, name: str) -> None:
        upload = self._kept.pop(name)
        self._total -= upload.size
        with suppress(OSError):
            upload.path.unlink()


def size_of(path: Path) -> int:
    """Return the size of a file in bytes. Raises `Refused` if it was deleted, as an example may be."""
    try:
        return path.stat().st_size
    except OSError:
        raise Refused("gone") from None


def content(path: Path, size: int) -> bytes:
    """Return the first `size` bytes of a file, which may have grown. Raises `Refused` if it was deleted."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        raise Refused("gone") from None
