"""The classifiers that can be exported, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from export.labels import CCMUSIC, EMOTIONS, LabelSet


@dataclass(frozen=True)
class System:
    """A served classifier.

    Attributes
    ----------
    name : of the served model; also the folder of its checkpoint
    architecture : "vgg19_bn", "vit_b_16" or "emotion2vec"
    spectrum : "cqt" or "mel", the picture that it was trained on; None: it takes the waveform
    profile : preprocessing that the released weights expect
    hub_repository, hub_file : where the released weights are on the hub
    labels : classes of the released weights, in output order
    embedding : values of the embedding that it puts out beside the classes; None where it has none
    """

    name: str
    architecture: str
    spectrum: str | None
    profile: str
    hub_repository: str
    hub_file: str
    labels: LabelSet
    embedding: int | None = None

    @property
    def input(self) -> dict[str, Any]:
        """The first input of its network: name, and shape of a row."""
        if self.spectrum:
            return {"name": "ROWS", "shape": [3, 224, 224]}
        return {"name": "WAV", "shape": [-1]}


def _ccmusic(name: str, architecture: str, spectrum: str) -> System:
    repository = "ccmusic-database/music_genre"
    return System(name, architecture, spectrum, "ccmusic", repository, f"{name}/save.pt", CCMUSIC)


_EMOTION2VEC = System(
    name="emotion2vec_plus_large",
    architecture="emotion2vec",
    spectrum=None,
    profile="emotion2vec",
    hub_repository="emotion2vec/emotion2vec_plus_large",
    hub_file="model.pt",
    labels=EMOTIONS,
    embedding=1024,
)


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        _ccmusic("vgg19_bn_cqt", "vgg19_bn", "cqt"),
        _ccmusic("vit_b_16_mel", "vit_b_16", "mel"),
        _EMOTION2VEC,
    )
}
GENRE_SYSTEMS = tuple(name for name, system in SYSTEMS.items() if system.spectrum)
"""Those that look at pictures."""
