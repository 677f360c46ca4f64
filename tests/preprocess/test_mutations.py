"""Real files with random damage end in an answer or in one sentence, whatever the decoders make of them."""

import random
from functools import cache

import pytest

from preprocess import Limits, RecordingError, load
from tests.preprocess.corpus import corpus
from tests.support.making import missing_tools
from tests.support.recordings import encode, music

KINDS = ("wav", "wav24", "float", "flac", "ogg", "mp3", "m4a", "wma", "opus")
LIMITS = Limits(max_seconds=60, max_cpu_seconds=2)
WORDS = b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change, insert, delete, double or cut some bytes, in the header more often than elsewhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(max(1, len(changed) if rng.random() < 0.6 else min(len(changed), 400)))
        size = rng.randrange(1, 400)
        match rng.randrange(8):
            case 0 | 1:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                changed[at : at + 4] = rng.choice(WORDS)
            case 3:
                changed[at : at + size] = bytes(size)
            case 4:
                del changed[at : at + size]
            case 5:
                changed[at:at] = rng.randbytes(size)
            case 6:
                changed[at:at] = changed[at : at + 10 * size]
            case 7:
                del changed[max(at, 1) :]
    return bytes(changed)


def check(data: bytes, seed: int) -> None:
    try:
        wave = load(mutated(data, random.Random(seed)), limits=LIMITS)
    except RecordingError as error:
        sentence = str(error)
        assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 300
    else:
        assert len(wave.samples) > 0


@cache
def intact(kind: str) -> bytes:
    return encode(music(3.0, 48000), 48000, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_random_damage(kind):
    for seed in range(20):
        check(intact(kind), seed)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_tools()), reason=f"needs Debian's packages with {', '.join(missing_tools())}")
@pytest.mark.parametrize("recording", [r for r in corpus() if r.quick], ids=lambda recording: recording.name)
def test_recordings_of_the_corpus_with_random_damage(recording, tmp_path):
    """With the corpus's quick selection, 2000 files."""
    data = recording.make(tmp_path)
    for seed in range(52):
        check(data, seed)
