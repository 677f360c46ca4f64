"""Downloads as the real huggingface_hub client makes them, from a local server that speaks the hub's HTTP."""

import ast
import os
import re
import socket
from pathlib import Path

import pytest

from export.errors import HubError
from export.hub import check_revision
from tests.export.hub_server import REVISION, Hub, run, serve

CONTENT = os.urandom(24 << 20)  # the client writes, and so can resume, by blocks of 10 MiB
DOWNLOAD = f"""
import sys
from export.errors import ExportError
from export.hub import download
try:
    print(download("ccmusic-database/music_genre", "vgg19_bn_cqt/save.pt", "{REVISION}"))
except ExportError as error:
    sys.exit(str(error))
"""
LIST = DOWNLOAD.replace("download", "sizes").replace("vgg19_bn_cqt/save.pt", "examples")


def whole_files(home):
    return [path for path in home.rglob("snapshots/**/*") if path.is_file()]


def test_download_follows_the_redirect_and_is_cached(tmp_path):
    with serve(Hub(CONTENT)) as hub:
        first = run(["-c", DOWNLOAD], hub.url, tmp_path)
        asked = len(hub.requests)
        second = run(["-c", DOWNLOAD], hub.url, tmp_path)
        assert len(hub.requests) == asked, "a pinned commit in the cache needs no request"
    assert first.stdout == second.stdout
    assert Path(first.stdout.strip()).read_bytes() == CONTENT, first.stderr
    resolve = f"/ccmusic-database/music_genre/resolve/{REVISION}/vgg19_bn_cqt/save.pt"
    assert ("HEAD", resolve) in [request[:2] for request in hub.requests]


def test_dropped_connection_leaves_no_file_and_is_resumed(tmp_path):
    with serve(Hub(CONTENT, drop_after=15 << 20)) as hub:
        result = run(["-c", DOWNLOAD], hub.url, tmp_path)
        if result.returncode:
            assert whole_files(tmp_path) == []
            result = run(["-c", DOWNLOAD], hub.url, tmp_path)
    assert Path(result.stdout.strip()).read_bytes() == CONTENT, result.stderr
    assert any(request[2] for request in hub.requests), "the rest is asked for by Range"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ((404, "RepoNotFound"), "no repository ccmusic-database/music_genre"),
        ((404, "RevisionNotFound"), f"has no commit {REVISION}"),
        ((404, "EntryNotFound"), "has no file vgg19_bn_cqt/save.pt"),
        ((403, "GatedRepo"), "requires you to accept its conditions"),
        ((401, "RepoNotFound"), "no repository ccmusic-database/music_genre"),
        ((418, ""), "the hub cannot be reached|could not be downloaded"),
    ],
)
def test_refusal_is_one_line_and_leaves_nothing(error, message, tmp_path):
    with serve(Hub(CONTENT, error=error)) as hub:
        arguments = ["-m", "export", "vgg19_bn_cqt", "--hub", "--revision", REVISION]
        result = run([*arguments, "--repository", str(tmp_path / "models")], hub.url, tmp_path / "home")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert re.search(message, result.stderr), result.stderr
    assert whole_files(tmp_path) == []
    assert not (tmp_path / "models").exists()


def test_listing_has_all_pages_and_the_files_of_folders_below(tmp_path):
    files = {f"examples/{k}.mp3": bytes(k) for k in range(9)} | {"examples/more/a.mp3": b"a", "save.pt": b"b"}
    with serve(Hub(b"", files)) as hub:
        result = run(["-c", LIST], hub.url, tmp_path)
    assert ast.literal_eval(result.stdout) == {f"examples/{k}.mp3": k for k in range(9)} | {
        "examples/more/a.mp3": 1
    }


def test_listing_of_a_folder_that_is_not_there_is_empty(tmp_path):
    with serve(Hub(b"", {"example/0.mp3": b"0"})) as hub:
        assert run(["-c", LIST], hub.url, tmp_path).stdout == "{}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ((404, "RepoNotFound"), "no repository ccmusic-database/music_genre"),
        ((404, "RevisionNotFound"), f"has no commit {REVISION}"),
        ((403, "GatedRepo"), "requires you to accept its conditions"),
        ((418, ""), "music_genre/examples could not be downloaded: "),
        ((200, ""), "music_genre/examples could not be downloaded: "),  # a page that is no listing
    ],
)
def test_refused_listing_is_one_line(error, message, tmp_path):
    with serve(Hub(b"", error=error)) as hub:
        result = run(["-c", LIST], hub.url, tmp_path)
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
    assert message in result.stderr


def test_listing_without_a_network_is_refused_in_one_line(tmp_path):
    result = run(["-c", LIST], "http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
    assert "offline mode is enabled" in result.stderr


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"HF_HUB_OFFLINE": "1"}, id="offline"),
        pytest.param({}, id="closed port", marks=pytest.mark.slow),  # the client tries six times
    ],
)
def test_unreachable_hub_is_one_line(more, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    arguments = ["-m", "export", "vgg19_bn_cqt", "--hub", "--revision", REVISION]
    result = run([*arguments, "--repository", str(tmp_path / "models")], url, tmp_path, **more)
    assert result.returncode == 2
    assert "the hub cannot be reached" in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", REVISION[:8], REVISION.upper(), REVISION + "0"])
def test_only_full_commits_are_accepted(revision):
    with pytest.raises(HubError, match="40 hexadecimal digits"):
        check_revision(revision)


def test_systems_of_two_repositories_have_no_revision_in_common(tmp_path):
    arguments = ["-m", "export", "--hub", "--revision", REVISION, "--repository", str(tmp_path / "models")]
    result = run(arguments, "http://127.0.0.1:9", tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "emotion2vec_plus_large is in emotion2vec/emotion2vec_plus_large" in result.stderr
    assert not (tmp_path / "models").exists()
