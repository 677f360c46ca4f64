"""Recordings as tensors: what is sent, and what is refused before anything is sent."""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from tritone_client import InvalidRecording
from tritone_client.transport import request
from tritone_client.transport.request import Request


def build_request(recording: object, model: str, options: dict[str, object]) -> Request:
    return request.build_request(recording, model, options, ("RESULT",))


def test_bytes_keep_their_trailing_zeros():
    assert build_request(b"RIFF\0\0", "m", {}).inputs["AUDIO"][0] == b"RIFF\0\0"


def test_a_request_is_known_by_recording_and_options():
    """Written out, so that other clients can do the same; hashed once, and again only its options."""
    request = build_request(b"song", "m", {"top_k": 3})
    assert request.sha256 == hashlib.sha256(b'song\0{"top_k": 3}').hexdigest()
    again = request.past_cache
    assert json.loads(again.inputs["OPTIONS"][0]) == {"top_k": 3}
    assert again.sha256 == hashlib.sha256(b"song\0" + again.inputs["OPTIONS"][0]).hexdigest() != request.sha256
    samples = build_request((np.array([0.5, -1.0], np.float32), 8000), "m", {})
    assert samples.sha256 == hashlib.sha256(struct.pack("<ffi", 0.5, -1.0, 8000) + b"\0{}").hexdigest()
    alone = Request("m", {"AUDIO": request.inputs["AUDIO"]}, ("RESULT",))
    assert alone.sha256 == hashlib.sha256(b"song\0").hexdigest()
    assert alone.past_cache.inputs["OPTIONS"][0].rstrip(b" \t") == b"{}"


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_path_is_read(song: Path, as_path: type):
    assert build_request(as_path(song), "m", {}).inputs["AUDIO"][0] == song.read_bytes()


def test_options_are_sorted_json_without_none():
    options = build_request(b"x", "m", {"top_k": 3, "profile": "article-a", "later": None}).inputs["OPTIONS"][0]
    assert options == b'{"profile": "article-a", "top_k": 3}'
    assert json.loads(options) == {"top_k": 3, "profile": "article-a"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_channels_are_mixed_by_their_mean(dtype: type):
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, 3)).astype(dtype)
    inputs = build_request((samples, 22050), "m", {}).inputs
    assert inputs["PCM"].dtype == np.float32 and inputs["SAMPLE_RATE"].tolist() == [22050]
    np.testing.assert_allclose(inputs["PCM"], samples.astype(float).mean(axis=1), atol=1e-6)
    assert "AUDIO" not in inputs


@pytest.mark.parametrize("channels", [0, 2])
def test_int16_full_scale_is_one(channels: int):
    samples = np.array([-32768, 0, 16384], np.int16)
    samples = np.stack([samples] * channels, axis=1) if channels else samples
    assert build_request((samples, 8000), "m", {}).inputs["PCM"].tolist() == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (b"", "is empty"),
        ("/nowhere/song.mp3", "does not exist"),
        ("/", "is a directory"),
        ("https://example.com/a.mp3", "^'https://example.com/a.mp3' is a URL, and URLs are not fetched: download"),
        ("~nobody-of-this-name/song.mp3", "does not exist"),
        ((np.zeros((2, 44100)), 44100), "transpose"),
        ((np.zeros((2, 2, 2)), 44100), "shape"),
        ((np.zeros(0), 44100), "shape"),
        ((np.zeros(9, np.uint8), 44100), "not uint8"),
        ((np.zeros(9), 0), "sample rate"),
        ((np.zeros(9), 44100.5), "sample rate"),
        ((np.zeros(9), float("nan")), "sample rate"),
        ((np.zeros(9), float("inf")), "sample rate"),
        ((np.zeros(9), None), "sample rate"),
        ([np.zeros(9), 44100], "a path, bytes or"),
        (None, "a path, bytes or"),
        ("a\0b", "a path, bytes or"),
    ],
)
def test_what_cannot_be_sent_is_refused(recording: object, message: str):
    with pytest.raises(InvalidRecording, match=message):
        build_request(recording, "m", {})


def test_an_empty_file_and_a_large_one_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "a.wav"
    file.touch()
    with pytest.raises(InvalidRecording, match=r"a.wav' is empty"):
        build_request(file, "m", {})
    with file.open("wb") as sparse:
        sparse.truncate(request.MAX_BYTES + 1)  # takes no room on the disk, and must not be read
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    with pytest.raises(InvalidRecording, match="256 MiB, but the limit is 256 MiB"):
        build_request(file, "m", {})
    monkeypatch.setattr(request, "MAX_BYTES", 3)
    with pytest.raises(InvalidRecording, match="but the limit is"):
        build_request(b"1234", "m", {})


def test_options_that_are_no_json_are_refused():
    with pytest.raises(InvalidRecording, match="JSON"):
        build_request(b"x", "m", {"profile": object()})
