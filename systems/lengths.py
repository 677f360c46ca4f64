"""Lengths of the rows of a network that takes waveforms, in frames and in samples.

Recordings of similar length are padded to the same length and so share a batch; recordings of half a second or
more are padded by at most a quarter. The frames plus the ten tokens that the network puts before them are
multiples of 8, 16 or 32, which suits matrix kernels: 258 tokens took 17 % longer than 256, and 514 took 8 % longer
than 512 (`python -m bench.conv_front_end`). Up to 10 s, where most utterances lie, the steps are finer, because
padding would cost more than batches gain.
"""

from __future__ import annotations

SR = 16000  # Hz
HOP = 320  # samples from one frame to the next
FIELD = 400  # samples of a frame
TOKENS = 10  # that the network puts before the frames

KEPT = 978  # maximum own frames of a window, 19.6 s; with their context they fill a bucket
CONTEXT = 50  # frames on either side of a window's own, 1 s
WINDOW = KEPT + 2 * CONTEXT + TOKENS  # tokens of a full window


def frames_of(samples: int) -> int:
    """Return the number of complete frames in a number of samples."""
    return max(0, (samples - FIELD) // HOP + 1)


def samples_of(frames: int) -> int:
    """Return the number of samples in a number of frames, at least one."""
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
