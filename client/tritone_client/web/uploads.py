"""The recordings that visitors send: on the disk as long as there is room, in memory a few bytes at a time.

A page is for many visitors, and for some who mean no good: what all of them together take is bounded.
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

LIMIT_MB = 64  # of a recording, as the systems have it
MEMORY_MB = 128  # of all recordings that are being asked about; each is in memory about five times meanwhile
BLOCK = 4096  # bytes that the smallest file takes on a disk
TURN_SECONDS = 60  # that a question waits for memory
KEPT_SECONDS = 3600  # that an upload stays


class Refused(Exception):
    """A recording that is not taken; `reason` is a key of the page's words, `values` are for its braces."""

    def __init__(self, reason: str, **values: object) -> None:
        super().__init__(reason)
        self.reason, self.values = reason, values

    def sentence(self, language: Language) -> str:
        """Why, in the visitor's language."""
        return PAGE[language][self.reason].format(**self.values)


class Turns:
    """At most `most` bytes at a time, for the tasks of one event loop.

    A task that wants more waits until others gave theirs back; tasks are served in the order in which they came.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self._first = asyncio.Lock()  # whose holder is the next: small ones do not overtake a large one for ever
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def take(self, size: int, seconds: float) -> AsyncIterator[None]:
        """Have `size` bytes. Raises `Refused` where they are not free within `seconds`."""
        try:
            await asyncio.wait_for(self._wait(size), seconds)
        except asyncio.TimeoutError:  # no alias of TimeoutError before Python 3.11
            raise Refused("crowded") from None
        try:
            yield
        finally:
            self.taken -= size
            self._given_back.set()

    async def _wait(self, size: int) -> None:
        async with self._first:
            while self.taken + size > self.most:
                self._given_back.clear()
                await self._given_back.wait()
            self.taken += size


@dataclass
class Upload:
    """A file that a visitor sent, or is sending."""

    path: Path
    size: int = 0
    users: int = 0  # questions about it, and who is sending it
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def used(self) -> Iterator[Path]:
        """Its path; it is not deleted meanwhile."""
        self.users += 1
        try:
            yield self.path
        finally:
            self.users -= 1


class Uploads:
    """The files that visitors may ask about: their uploads, which lie in `folder`, and the examples.

    Uploads take at most `quota` MB: for a new one the oldest that no question is about are deleted.
    """

    def __init__(self, folder: Path, examples: Sequence[Path], quota: int = WEB_QUOTA_MB) -> None:
        self.folder, self.examples, self.quota = folder, list(examples), quota << 20
        self.limit = min(LIMIT_MB, quota)
        self.turns = Turns(MEMORY_MB << 20)
        self._kept: dict[str, Upload] = {}  # the oldest first
        self._total = 0  # bytes of them

    async def add(self, chunks: AsyncIterable[bytes]) -> str:
        """Keep an upload; the name by which questions name it. Raises `Refused` where there is no room for it."""
        name = secrets.token_urlsafe(16)
        upload = self._kept[name] = Upload(self.folder / name)
        try:
            with upload.used() as path, path.open("xb") as file:
                self._grow(upload, BLOCK)
                async for chunk in chunks:
                    self._grow(upload, len(chunk))
                    await asyncio.to_thread(file.write, chunk)
        except BaseException:  # also who goes away while sending
            self._delete(name)
            raise
        return name

    @asynccontextmanager
    async def read(self, source: Mapping[str, object], seconds: float = TURN_SECONDS) -> AsyncIterator[bytes]:
        """The content of `{"example": n}` or `{"upload": name}`, as soon as there is memory for it.

        Raises `Refused` for what is gone, or too large, or not read within `seconds` because of others.
        """
        with self._use(source) as path:
            size = size_of(path)
            if size > self.limit << 20:
                raise Refused("too_large", size=f"{size / 2**20:.0f}", limit=self.limit)
            async with self.turns.take(size, seconds):
                yield await asyncio.to_thread(content, path, size)

    def sweep(self, seconds: float = KEPT_SECONDS) -> None:
        """Delete the uploads that are older, and that no question is about."""
        before = time.monotonic() - seconds
        for name in [name for name, one in self._kept.items() if one.began < before and not one.users]:
            self._delete(name)

    @contextmanager
    def _use(self, source: Mapping[str, object]) -> Iterator[Path]:
        """The path of what a browser names, which may be anything. Raises `Refused` for what there is not."""
        example, name = source.get("example"), source.get("upload")
        if isinstance(example, int) and 0 <= example < len(self.examples):
            yield self.examples[example]
        elif isinstance(name, str) and name in self._kept:
            with self._kept[name].used() as path:
                yield path
        else:
            raise Refused("gone")

    def _grow(self, upload: Upload, size: int) -> None:
        """Count `size` further bytes of an upload, for which the oldest are deleted where it takes that.

        Raises `Refused` where all are in use.
        """
        while self._total + size > self.quota:
            oldest = next((name for name, one in self._kept.items() if not one.users), None)
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
    """The bytes of a file. Raises `Refused` where it has been deleted, as an example may be."""
    try:
        return path.stat().st_size
    except OSError:
        raise Refused("gone") from None


def content(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, which may have grown since. Raises `Refused` where it has been deleted."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        raise Refused("gone") from None
