"""What a check works on, and how much of it: the same for every stage, and handed to it as flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from preprocess import prepare
from server.installation import ROOT
from server.variants import CUDA, PORTABLE
from sounds import collection
from systems import SYSTEMS
from systems.architectures import VGG19_BN, VIT_B_16
from systems.repository import Network, Repository

Rows = npt.NDArray[np.float32]

# Architecture -> profile of the article that uses it; for others, the profile of their system.
ARTICLES = {VGG19_BN: "article-a", VIT_B_16: "article-b"}
CHECKED = tuple(name for name, system in SYSTEMS.items() if system.task.has_images)
# Rows that a fresh FP16 network is compared on: enough for a check; the export for real use compares more.
FP16_ROWS = 100


@dataclass(frozen=True)
class Check:
    """What is checked, and how much of it.

    Attributes
    ----------
    system : whose networks
    device : "cuda", or "cpu" in its place, for a dry run
    repository : of the models
    brief : as little as shows that everything runs
    """

    system: str
    device: str
    repository: Path
    brief: bool

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the flags that `of` reads."""
        parser.add_argument(
            "--system",
            choices=CHECKED,
            default="vgg19_bn_cqt",
            metavar="SYSTEM",
            help="system to check (default: %(default)s)",
        )
        parser.add_argument(
            "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run without a GPU"
        )
        parser.add_argument(
            "--repository",
            type=Path,
            default=ROOT / "model_repository",
            metavar="DIR",
            help="folder of the models (default: %(default)s)",
        )
        parser.add_argument("--brief", action="store_true", help="the smallest check that runs everything")

    @classmethod
    def of(cls, flags: argparse.Namespace) -> Check:
        """What the flags say."""
        return cls(flags.system, flags.device, flags.repository.resolve(), flags.brief)

    def flags(self) -> list[str]:
        """The flags that `of` reads this from."""
        named = {"system": self.system, "device": self.device, "repository": self.repository}
        return [f"--{name}={value}" for name, value in named.items()] + ["--brief"] * self.brief

    @property
    def variant(self) -> str:
        """That is served."""
        return CUDA if self.device == "cuda" else PORTABLE

    @property
    def profile(self) -> str:
        """That recordings are prepared by."""
        system = SYSTEMS[self.system]
        return ARTICLES.get(system.architecture, system.profile.name)

    @cached_property
    def network(self) -> Network:
        """The network of the system.

        Raises
        ------
        BenchError
            it, or its FP16 network, is not there or not of the same weights
        """
        network = Repository(self.repository).network(self.system)
        for product in (network.onnx, network.fp16):
            if product.why_not:
                raise BenchError(product.why_not)
        return network

    @cached_property
    def recordings(self) -> list[bytes]:
        """Distinct ones, MP3 in stereo, of 30 s."""
        return collection(2, seconds=6.0) if self.brief else collection(16)

    def rows(self) -> Rows:
        """What the network takes of the recordings: float32 [n, *row]."""
        spectrum = SYSTEMS[self.system].spectrum
        return np.concatenate([prepare(song, self.profile, spectrum=spectrum).rows for song in self.recordings])

    def some(self, values: Sequence[int]) -> Sequence[int]:
        """How many of something are tried one after the other; the least of them where the check is brief."""
        return values[:1] if self.brief else values
