"""What visitors send is bounded: on the disk by a quota, in memory by turns, and named by nothing else."""

import asyncio
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tritone_client.web.page import AT_ONCE
from tritone_client.web.uploads import LIMIT_MB, MEMORY_MB, MemoryBudget, Refused, Uploads

from tests.web.browser import put, question, tritone_web, upload

MB = 1 << 20


async def sent(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(files: Uploads, source: dict[str, object]) -> bytes | str:
    """What is read, or why it is not."""
    try:
        async with files.read(source, 0.1) as data:
            return data
    except Refused as refusal:
        return refusal.sentence("en")


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_only_uploads_and_examples_are_read(tmp_path):
    folder, example = tmp_path / "uploads", tmp_path / "example.wav"
    folder.mkdir()
    example.write_bytes(b"an example")
    (folder / "other").write_bytes(b"no upload")

    async def read() -> None:
        files = Uploads(folder, [example])
        name = await files.add(sent(b"a ", b"song"))
        assert await content(files, {"upload": name}) == b"a song"
        assert await content(files, {"example": 0}) == b"an example"
        for source in (
            {"upload": "other"},
            {"upload": str(folder / name)},
            {"upload": f"../uploads/{name}"},
            {"upload": None},
            {"upload": ["a"]},
            {"example": 1},
            {"example": -1},
            {"example": "0"},
            {"path": str(folder / name)},
            {},
        ):
            assert "has been deleted" in await content(files, source), source
        example.unlink()
        assert "has been deleted" in await content(files, {"example": 0})

    asyncio.run(read())


def test_an_example_is_no_larger_than_an_upload(tmp_path):
    example = tmp_path / "example.wav"
    with example.open("wb") as file:
        file.truncate((LIMIT_MB << 20) + 1)
    sentence = asyncio.run(content(Uploads(tmp_path, [example]), {"example": 0}))
    assert sentence == "This file has 64 MB, but the limit is 64 MB: cut or compress it."


def test_the_oldest_make_room_and_those_in_use_do_not(tmp_path):
    async def fill() -> None:
        files = Uploads(tmp_path, [], quota=4)
        first, second = [await files.add(sent(bytes(MB))) for _ in range(2)]
        async with files.read({"upload": first}):
            third = await files.add(sent(bytes(MB), bytes(MB // 2)))
            assert {path.name for path in tmp_path.iterdir()} == {first, second, third}
            fourth = await files.add(sent(bytes(MB)))
            assert {path.name for path in tmp_path.iterdir()} == {first, third, fourth}
            with pytest.raises(Refused, match="no_room"):
                await files.add(sent(*[bytes(MB)] * 4))
            assert {path.name for path in tmp_path.iterdir()} == {first}
        assert await content(files, {"upload": first}) == bytes(MB)

    asyncio.run(fill())


def test_even_empty_uploads_take_room(tmp_path):
    async def fill() -> None:
        files = Uploads(tmp_path, [], quota=1)
        for _ in range(300):
            await files.add(sent())

    asyncio.run(fill())
    assert len(list(tmp_path.iterdir())) == 256


def test_who_goes_away_while_sending_leaves_nothing(tmp_path):
    async def broken() -> AsyncIterator[bytes]:
        yield b"half a"
        raise ConnectionError

    async def send() -> None:
        files = Uploads(tmp_path, [], quota=1)
        for _ in range(300):
            with pytest.raises(ConnectionError):
                await files.add(broken())
        assert list(tmp_path.iterdir()) == []

    asyncio.run(send())


def test_uploads_are_deleted_when_they_are_old_and_not_in_use(tmp_path):
    async def sweep() -> None:
        files = Uploads(tmp_path, [])
        used, _ = [await files.add(sent(b"a song")) for _ in range(2)]
        files.sweep(60)
        assert len(list(tmp_path.iterdir())) == 2
        async with files.read({"upload": used}):
            files.sweep(-1)
            assert [path.name for path in tmp_path.iterdir()] == [used]
        files.sweep(-1)
        assert list(tmp_path.iterdir()) == []

    asyncio.run(sweep())


def test_the_memory_budget_keeps_the_order_and_its_bound():
    async def take() -> list[str]:
        memory, order = MemoryBudget(10), []

        async def one(name: str, size: int, seconds: float = 5.0) -> None:
            async with memory.take(size, seconds):
                assert memory.taken <= memory.most
                order.append(name)
                await asyncio.sleep(0.05)

        late = asyncio.create_task(one("never", 10, 0.01))
        await asyncio.gather(one("small", 4), one("large", 10), one("small too", 4), one("and small", 4))
        with pytest.raises(Refused, match="crowded"):
            async with memory.take(10, 5.0):
                await one("late", 1, 0.01)
        await asyncio.gather(late, return_exceptions=True)
        assert memory.taken == 0
        return order

    assert asyncio.run(take())[-4:] == ["small", "large", "small too", "and small"]


def test_who_waits_too_long_reads_a_sentence_and_who_gives_up_takes_nothing(tmp_path):
    async def crowd() -> None:
        files = Uploads(tmp_path, [])
        name = await files.add(sent(b"a song"))
        async with files.memory.take(files.memory.most, 1.0):
            assert "take up this page's memory" in await content(files, {"upload": name})
            waiting = asyncio.create_task(content(files, {"upload": name}))
            await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert files.memory.taken == 0
        assert await content(files, {"upload": name}) == b"a song"

    asyncio.run(crowd())


@pytest.mark.slow
def test_the_folder_stays_below_its_quota(browser, triton, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with tritone_web(f"--url={triton.grpc}", "--quota=3") as (url, _):
        (folder,) = tmp_path.glob("tritone-web-*")
        names = []
        for _ in range(8):
            names.append(upload(url, bytes(MB)))
            assert stored(folder) <= 3 * MB
        assert "has been deleted" in str(put(url, question({"upload": names[0]})))
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=20) as connection:
            announced = f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {3 * MB + 1}\r\n\r\n"
            connection.sendall(announced.encode())
            assert connection.recv(12) == b"HTTP/1.1 413"
        with pytest.raises(urllib.error.HTTPError, match="507") as caught:
            upload(url, bytes(3 * MB))  # with the block that any file takes
        assert "no room for this file: the 3 MB" in json.load(caught.value)["detail"]
        assert stored(folder) == 0
        with browser.new_context(locale="zh-CN") as visitor:
            page = visitor.new_page()
            page.goto(url)
            page.wait_for_selector("#t-system label")
            page.set_input_files(".t-file", [{"name": "a", "mimeType": "", "buffer": bytes(3 * MB)}])
            page.wait_for_selector(".t-refused:has-text('供上传的 3 MB')")
            page.set_input_files(".t-file", [{"name": "a", "mimeType": "", "buffer": bytes(3 * MB + 1)}])
            page.wait_for_selector(".t-refused:has-text('最多可发送 3 MB')")


def peak(process: int) -> int:
    """The most bytes of memory that a process has had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10


@pytest.mark.slow
def test_many_questions_about_large_recordings_fit_in_memory(triton):
    large = LIMIT_MB - 1
    with tritone_web(f"--url={triton.grpc}") as (url, process):
        name = upload(url, os.urandom(large * MB))
        idle = peak(process.pid)

        def ask(session: int) -> str:
            language = ("en", "zh")[session % 2]
            return str(put(url, question({"upload": name}), f"s{session}", language))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(ask, range(AT_ONCE)))
        assert all("tritone-answer" in answer for answer in answers)
        assert peak(process.pid) - idle < 8 * MEMORY_MB * MB
