"""The subject and the extent of a check; every stage receives them as flags."""

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
    """Subject and extent of a check.

    Attributes
    ----------
    system : system whose networks are checked
    device : "cuda", or "cpu" for a dry run
    repository : folder of the models
    brief : run the smallest check that runs everything
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
        """Return the check that parsed flags describe."""
        return cls(flags.system, flags.device, flags.repository.resolve(), flags.brief)

    def flags(self) -> list[str]:
        """Return the flags from which `of` creates this check."""
        named = {"system": self.system, "device": self.device, "repository": self.repository}
        return [f"--{name}={value}" for name, value in named.items()] + ["--brief"] * self.brief

    @property
    def variant(self) -> str:
        """The variant to serve."""
        return CUDA if self.device == "cuda" else PORTABLE

    @property
    def profile(self) -> str:
        """The profile that prepares the recordings."""
        system = SYSTEMS[self.system]
        return ARTICLES.get(system.architecture, system.profile.name)

    @cached_property
    def network(self) -> Network:
        """The network of the system.

        Raises
        ------
        BenchError
            If it or its FP16 network is missing, or they have different weights.
        """
        network = Repository(self.repository).network(self.system)
        for product in (network.onnx, network.fp16):
            if product.why_not:
                raise BenchError(product.why_not)
        return network

    @cached_property
    def recordings(self) -> list[bytes]:
        """Distinct recordings of 30 s, stereo MP3."""
        return collection(2, seconds=6.0) if self.brief else collection(16)

    def rows(self) -> Rows:
        """Prepare the recordings: float32 [n, *row]."""
        spectrum = SYSTEMS[self.system].spectrum
        return np.concatenate([prepare(song, self.profile, spectrum=spectrum).rows for song in self.recordings])

    def some(self, values: Sequence[int]) -> Sequence[int]:
        """Return the values to measure: all of them, or the first one in a brief check."""
        return values[:1] if self.brief else values
