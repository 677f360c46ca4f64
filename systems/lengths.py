"""Lengths of the rows of a network that takes waveforms: in frames, as it sees them, and in samples.

Recordings of like length share a batch because they are padded to the same one; from half a second up none is
padded by more than a quarter. The frames and the ten tokens that the network puts before them are multiples of 8,
16 and 32, which matrix kernels like: 258 tokens took 17 % longer than 256, and 514 took 8 % longer than 512
(`python -m bench.front`). Where most utterances are, up to 10 s, the steps are finer: there padding costs more
than batches gain.
"""

from __future__ import annotations

SR = 16000  # Hz
HOP = 320  # samples from one frame to the next
FIELD = 400  # samples that a frame sees
TOKENS = 10

KEPT = 978  # frames, 19.6 s: the most that are kept of one window; with their context they fill a bucket
CONTEXT = 50  # frames, 1 s
WINDOW = KEPT + 2 * CONTEXT + TOKENS  # tokens of a full window


def frames_of(samples: int) -> int:
    """Whole frames in so many samples."""
    return max(0, (samples - FIELD) // HOP + 1)


def samples_of(frames: int) -> int:
    """Samples that so many frames see, at least one."""
    return (frames - 1) * HOP + FIELD


# Samples.
BUCKETS = tuple(
    samples_of(tokens - TOKENS)
    for tokens in (
        *(32, 40, 48, 56, 64, 72, 88, 104, 128),  # 0.5 to 2.4 s
        *(144, 160, 176, *range(192, 513, 32)),  # 2.7 to 10 s
        *(608, 736, 896, WINDOW, 1312, 1536),  # 12 to 30.5 s: an encoded 30 s are longer
    )
)
# For GPUs, which want full batches and have the operations to spare: rows of unlike length share one, padded to at
# most about twice their length, and an engine has few shapes to be good at. 1.3, 2.4, 5, 10, 21.6 and 30.5 s.
COARSE_BUCKETS = tuple(samples_of(tokens - TOKENS) for tokens in (72, 128, 256, 512, WINDOW, 1536))
TEN_SECONDS = samples_of(512 - TOKENS)
# Samples that are run together on a CPU, five seconds, and always one row: a longer row gains nothing from" "
# company.
AT_A_TIME = 80_000
