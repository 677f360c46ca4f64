"""`python -m bench.music [FOLDER]`: fetches real music for the benchmarks, about 210 songs (1 GB to download).

Games in Debian contain music of many styles under free licences, and the packages are signed. apt downloads and
verifies the packages below without root rights; nothing is installed. The songs longer than 30 s are extracted to
FOLDER/<package>/, together with the package's statement of authors and licences. Packages that are already there
are not downloaded again.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath

import numpy as np
import soundfile as sf

from bench.errors import BenchError
from server.installation import ROOT
from sounds import Samples

FOLDER = ROOT / ".cache" / "music"
# Package of Debian 12 -> style of its music.
PACKAGES = {
    "wesnoth-1.16-music": "orchestra, choir, medieval",
    "hedgewars-data": "rock, reggae, swing, electronic",
    "supertux-data": "pop, chiptune, light orchestra",
    "warzone2100-music": "dark ambient, industrial",
    "freedroidrpg-data": "techno, ambient",
    "extremetuxracer-data": "folk rock, guitar",
    "asc-music": "orchestra and rock for battles",
    "colobot-common-sounds": "electronic, guitar",
    "singularity-music": "ambient electronic",
    "fillets-ng-data": "calm, dreamy",
}
SUFFIXES = (".flac", ".mp3", ".ogg", ".opus")
MIN_SECONDS = 30.0
COPYRIGHT = "copyright"
PARTIAL = ".partial"
# An excerpt whose peak does not exceed this is silent.
SILENT = 0.01

Download = Callable[[str, Path], Path]


def collect(folder: Path, download: Download, packages: Sequence[str] = tuple(PACKAGES)) -> None:
    """Fill a folder with the songs of packages; existing ones are kept.

    Parameters
    ----------
    folder : folder of the songs
    download : function of a package and a folder that returns the downloaded .deb, or raises `BenchError`
    packages : names of packages

    Raises
    ------
    BenchError
        If a program is missing, or no package could be downloaded; a single failure is reported and skipped.
    """
    if not shutil.which("dpkg-deb"):
        raise BenchError("dpkg-deb is missing: the music is in Debian packages (on Debian, install dpkg)")
    failed = []
    for package in packages:
        target = folder / package
        if not target.is_dir():
            print(f"{package}: downloading", flush=True)
            with tempfile.TemporaryDirectory(prefix="tritone-music-") as temporary:
                try:
                    unpack(download(package, Path(temporary)), target)
                except BenchError as error:
                    failed.append(f"{package}: {error}")
                    print(f"{failed[-1]}; skipped", flush=True)
                    continue
        print(f"{package}: {len(songs(target))} songs in {target}", flush=True)
    if len(failed) == len(packages):
        raise BenchError(f"none of {len(packages)} packages could be downloaded; the first: {failed[0]}")


def apt(package: str, folder: Path) -> Path:
    """Download a package with apt, which verifies it."""
    if not shutil.which("apt-get"):
        raise BenchError("apt-get is missing: it downloads the music from Debian's archive")
    done = subprocess.run(["apt-get", "-qq", "download", package], cwd=folder, capture_output=True, text=True)
    files = list(folder.glob("*.deb"))
    if done.returncode or len(files) != 1:
        errors = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise BenchError(
            f"apt-get cannot download it ({errors[0] if errors else 'exit code ' + str(done.returncode)})"
        )
    return files[0]


def unpack(package: Path, target: Path) -> None:
    """Write the songs of a .deb and its copyright file to a new folder; its scripts are not run.

    Raises
    ------
    BenchError
        If it cannot be read, or contains no song.
    """
    partial = target.with_name(f"{target.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as files:
        try:
            with tarfile.open(fileobj=files.stdout, mode="r|") as archive:
                for member in archive:
                    if member.isfile() and (name := _wanted(PurePosixPath(member.name))):
                        content = archive.extractfile(member)
                        assert content is not None  # it is None for what is no file
                        _keep(content.read(), partial / name)
        except tarfile.TarError as error:
            raise BenchError(f"{package.name} cannot be read as a Debian package") from error
    if not any(path.name != COPYRIGHT for path in partial.iterdir()):
        shutil.rmtree(partial)
        raise BenchError(f"{package.name} has no song longer than {MIN_SECONDS:.0f} s")
    partial.rename(target)


def _wanted(path: PurePosixPath) -> str | None:
    """Return the name for a file of a package: its folder's and its own name; None if it is not needed."""
    if path.suffix.lower() in SUFFIXES:
        return f"{path.parent.name}-{path.name}"
    return COPYRIGHT if path.name == COPYRIGHT and "doc" in path.parts else None


def _keep(data: bytes, target: Path) -> None:
    """Write a file, unless it is sound that is unreadable or too short for a song."""
    if target.name != COPYRIGHT:
        try:
            if sf.info(io.BytesIO(data)).duration <= MIN_SECONDS:
                return
        except sf.LibsndfileError:
            return
    target.write_bytes(data)


def songs(folder: Path) -> list[Path]:
    """Return the songs in a folder and below it, sorted, without those of incomplete packages."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.parent.suffix != PARTIAL)


def choose(folder: Path, n: int, seconds: float, seed: int = 0) -> list[tuple[Path, float]]:
    """Select excerpts of different songs, alternating between packages: song and start of the excerpt in s.

    Parameters
    ----------
    folder : folder of `collect`
    n : number of excerpts
    seconds : length of each; shorter songs and silent excerpts are skipped
    seed : seed of the selection

    Raises
    ------
    BenchError
        If there are fewer songs of that length.
    """
    rng = np.random.default_rng(seed)
    lengths = {song: sf.info(song).duration for song in songs(folder)}
    queues: dict[Path, list[Path]] = {}
    for song, length in lengths.items():
        if length >= seconds:
            queues.setdefault(song.parent, []).append(song)
    for queue in queues.values():
        rng.shuffle(queue)  # type: ignore[arg-type]  # NumPy shuffles any list, and declares numbers
    chosen: list[tuple[Path, float]] = []
    for song in filter(None, chain.from_iterable(zip_longest(*queues.values()))):
        start = float(rng.uniform(0, lengths[song] - seconds))
        if len(chosen) < n and np.abs(read(song, start, seconds)[0]).max() > SILENT:
            chosen.append((song, start))
    if len(chosen) < n:
        raise BenchError(
            f"{folder} has {len(chosen)} songs of at least {seconds:.0f} s, {n} are needed: run python -m"
            " bench.music"
        )
    return chosen


def read(song: Path, start: float, seconds: float) -> tuple[Samples, int]:
    """Read an excerpt as mono: float32 [n], and its sample rate in Hz."""
    sr = sf.info(song).samplerate
    y, _ = sf.read(song, round(seconds * sr), round(start * sr), dtype="float32", always_2d=True)
    return y.mean(axis=1), sr


def main() -> int:
    """Fetch the music; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.music", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        collect(arguments.folder, apt)
    except BenchError as error:
        print(f"bench.music: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
