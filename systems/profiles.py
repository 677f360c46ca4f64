"""The named profiles: how a recording is prepared for a network, as data that preprocess/ carries out.

| profile       | seconds          | spectrogram            | row of the network                          |
|---------------|------------------|------------------------|---------------------------------------------|
| `ccmusic`     | whole file in    | cqt 84/512 or          | magma 496x369, JPEG, 224x224, [-1, 1];      |
|               | 11.4 s slices    | mel 128/2048/512, dB   | what the released genre weights expect      |
| `article-a`   | first 30         | cqt 84/512, dB         | grey x3, whole range squashed to 224x224,   |
|               |                  | or mel 128/2048/512    | [0, 1], low frequencies at the top          |
| `article-b`   | first 30         | mel 40/1024/256, dB    | grey x3, centre 224 frames (2.6 s), bands   |
|               |                  | or cqt 84/256          | stretched to 224 rows, [0, 1]               |
| `musicnn`     | whole file in    | mel 96/512/256 at      | the values themselves, 96 bands x 187       |
|               | 3 s patches      | 16 kHz, log10(1+10^4x) | frames, a remainder left out                |
| `emotion2vec` | whole file in    |                        | the waveform at 16 kHz, normalised          |
|               | windows of 30 s  |                        |                                             |

Profiles `article-a` and `article-b` follow two articles, which the project calls A and B:

* A: "ccmusic-database性能优化:VGG19_BN模型FP16推理加速与GPU利用率提升方案", 2026-04-19
* B: "AcousticSense AI优化指南:如何提升音乐分类的准确性和速度", undated

The third, on speech, is article C: "Emotion2Vec+ Large性能瓶颈?CPU/GPU资源分配优化教程", 2026-01-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Ways to turn a spectrogram into rows (preprocess/layouts.py); "waveform" needs no spectrogram.
RENDER = ("magma", "squashed", "centre", "patches", "waveform")
# Hz; the filters of the CQT assume this rate.
CQT_SR = 22050


@dataclass(frozen=True)
class FrontEnd:
    """How a spectrogram is computed.

    Attributes
    ----------
    hop_length : samples between frames; for a CQT a multiple of 64
    n_fft, n_mels : for a mel spectrogram; a CQT has 84 bins from C1
    scale : "db", decibels down to 80 below the loudest; or "log", log10(1 + 10000 x) of the power x
    ref : value of 0 dB; None: the peak of the spectrogram
    """

    hop_length: int = 512
    n_fft: int = 2048
    n_mels: int = 128
    scale: str = "db"
    ref: float | None = None


@dataclass(frozen=True)
class Profile:
    """How a recording becomes rows of a network.

    Attributes
    ----------
    name : value of the option `profile`; the answer repeats it
    render : how to turn the spectrogram into rows, one of `RENDER`
    front_ends : supported spectrum ("cqt", "mel") -> how to compute it; empty for a waveform
    sr : Hz
    seconds : length to use from the beginning; None: all
    slice_seconds : for "magma", seconds of a row
    least_seconds : shorter recordings are rejected; the lowest filter of the CQT (C1, Q = 17.3) is 0.53 s long
    shape : of a row; -1: any length
    value_range : lowest and highest value of a row; None: unbounded
    """

    name: str
    render: str
    front_ends: Mapping[str, FrontEnd] = field(default_factory=dict)
    sr: int = CQT_SR
    seconds: float | None = None
    slice_seconds: float | None = None
    least_seconds: float = 0.5
    shape: tuple[int, ...] = (3, 224, 224)
    value_range: tuple[float, float] | None = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.render not in RENDER:
            raise ValueError(f"profile {self.name}: render {self.render!r} is unknown; choose {', '.join(RENDER)}")
        if "cqt" in self.front_ends and self.sr != CQT_SR:
            raise ValueError(f"profile {self.name}: a CQT needs sr={CQT_SR}, not {self.sr}")
        for spectrum, front_end in self.front_ends.items():
            if spectrum not in ("cqt", "mel"):
                raise ValueError(f"profile {self.name}: spectrum {spectrum!r} is unknown; choose cqt or mel")
            if front_end.scale not in ("db", "log"):
                raise ValueError(f"profile {self.name}: scale {front_end.scale!r} is unknown; choose db or log")

    @property
    def spectra(self) -> tuple[str | None, ...]:
        """Spectra that a system with this profile may have."""
        return tuple(self.front_ends) or (None,)

    def suits(self, shape: tuple[int, ...], spectrum: str | None) -> bool:
        """Whether it makes rows of this shape from such a spectrogram."""
        return self.shape == shape and spectrum in self.spectra

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Profile:
        """Read what `to_json` returned; raise TypeError or ValueError for anything else."""
        front_ends = {spectrum: FrontEnd(**numbers) for spectrum, numbers in content["front_ends"].items()}
        bounds = content["value_range"]
        return cls(
            **{
                **content,
                "front_ends": front_ends,
                "shape": tuple(content["shape"]),
                "value_range": bounds and tuple(bounds),
            }
        )


CCMUSIC = Profile(
    "ccmusic", "magma", {"cqt": FrontEnd(), "mel": FrontEnd()}, slice_seconds=11.4, value_range=(-1.0, 1.0)
)
ARTICLE_A = Profile("article-a", "squashed", {"cqt": FrontEnd(ref=1.0), "mel": FrontEnd(ref=1.0)}, seconds=30.0)
ARTICLE_B = Profile(
    "article-b",
    "centre",
    {"cqt": FrontEnd(hop_length=256), "mel": FrontEnd(hop_length=256, n_fft=1024, n_mels=40)},
    seconds=30.0,
)
PATCHES = Profile(
    "musicnn",
    "patches",
    {"mel": FrontEnd(n_fft=512, hop_length=256, n_mels=96, scale="log")},
    sr=16000,
    shape=(1, 96, 187),
    value_range=None,
)
WAVEFORM = Profile("emotion2vec", "waveform", sr=16000, least_seconds=0.025, shape=(-1,), value_range=None)

PROFILES: dict[str, Profile] = {
    profile.name: profile for profile in (CCMUSIC, ARTICLE_A, ARTICLE_B, PATCHES, WAVEFORM)
}
