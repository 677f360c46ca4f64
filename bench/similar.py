"""`python -m bench.similar FOLDER`: measures whether `tritone similar` finds the other versions of a song.

Makes three further versions of each song in a folder of real music: MP3 and Opus at 64 kbit/s, and its first half.
`tritone bulk --embedding` computes the embeddings of all files with the embedded server. The nearest other files
of each file should be the other versions of the same song. Needs ffmpeg and the exported network of musicnn_msd;
writes similar.json and similar.md to bench/results/.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tritone_client.bulk.embeddings import read
from tritone_client.bulk.similar import nearest
from tritone_client.bulk.sources import find_files

from bench.__main__ import finish
from bench.errors import BenchError
from server.embedded import embedded
from server.installation import ROOT

SYSTEM = "musicnn_msd"
IN_FLIGHT = 16
SHORTEST = 8.0  # seconds of a song, so that its half has more than one patch of 3 s
SONGS, QUICK = 200, 12
ORIGINAL = "original"
# Kind -> file suffix and arguments of ffmpeg; at its default level LAME would take most of the time.
VERSIONS = {
    "MP3, 64 kbit/s": ("mp3", ["-c:a", "libmp3lame", "-b:a", "64k", "-compression_level", "7"]),
    "Opus, 64 kbit/s": ("opus", ["-c:a", "libopus", "-b:a", "64k"]),
    "first half": ("flac", ["-c:a", "flac", "-sample_fmt", "s16"]),
}
HALF = "first half"
OTHERS = len(VERSIONS)  # other versions of each file


@dataclass(frozen=True)
class Song:
    """A recording, its length in seconds, and the files of its versions by kind."""

    path: Path
    seconds: float
    versions: dict[str, Path]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.similar", description=__doc__.splitlines()[0])
    quick = bool(os.environ.get("QUICK"))
    parser.add_argument("folder", type=Path, help="folder of real music, searched recursively")
    parser.add_argument("--about", default="a folder of music", help="description of the music, for the report")
    parser.add_argument(
        "--songs", type=int, default=SONGS, help="largest number of songs, drawn at random (default: %(default)s)"
    )
    parser.add_argument("--variant", default=os.environ.get("VARIANT", "auto"), help="as in python -m server")
    parser.add_argument("--quick", action="store_true", default=quick, help=f"use at most {QUICK} songs")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="default: %(default)s")
    arguments = parser.parse_args()
    songs = min(arguments.songs, QUICK) if arguments.quick else arguments.songs
    fewer = f" --songs {arguments.songs}" if arguments.songs != SONGS else ""
    command = "python -m bench.similar FOLDER" + fewer + (" --quick" if arguments.quick else "")
    try:
        finish(
            lambda: {"similar": compare(arguments.folder, songs, arguments.variant, arguments.about)},
            arguments,
            command,
        )
    except (BenchError, RuntimeError) as error:
        print(f"bench.similar: {error}", file=sys.stderr)
        return 2
    return 0


def compare(folder: Path, count: int, variant: str, about: str) -> dict:
    """Measure the entry `similar` of the figures.

    Returns
    -------
    system, variant, about : what was measured
    songs, hours : number of songs, and hours of sound of all their versions
    failed : number of songs skipped because the server rejected one of their versions
    bulk_seconds : time of `tritone bulk`
    kinds : by kind, the shares of `shares`
    missed : names of the songs whose nearest three are not their other versions
    """
    with tempfile.TemporaryDirectory(prefix="tritone-bench-") as name:
        songs = make_versions(chosen(folder, count), Path(name))
        rows = Path(name) / "rows.parquet"
        flags = (f"--systems={SYSTEM}", f"--variant={variant}", "--cache-size=0", "--log-level=warning")
        with embedded(*flags) as server:
            start = time.monotonic()
            bulk(server.grpc, songs, rows)
            seconds = time.monotonic() - start
        neighbours = neighbours_of(rows)
    complete = [song for song in songs if all(str(path) in neighbours for path in song.versions.values())]
    if not complete:
        raise BenchError("the server rejected a version of every song: name a folder of music")
    return {
        **{"system": SYSTEM, "variant": server.variant, "about": about, "songs": len(complete)},
        "hours": sum(song.seconds * (len(song.versions) - 0.5) for song in complete) / 3600,
        **{"failed": len(songs) - len(complete), "bulk_seconds": seconds},
        **shares(complete, neighbours),
    }


def chosen(folder: Path, count: int, seed: int = 0) -> list[Song]:
    """Select songs of at least `SHORTEST` seconds from a folder at random, without further versions yet.

    Raises
    ------
    BenchError
        If there are none.
    """
    paths = sorted(Path(name) for name, error in find_files(str(folder)) if not error)
    random.Random(seed).shuffle(paths)
    songs: list[Song] = []
    for path in paths:
        seconds = seconds_of(path)
        if seconds >= SHORTEST:
            songs.append(Song(path, seconds, {ORIGINAL: path}))
        if len(songs) == count:
            break
    if not songs:
        raise BenchError(f"{folder} contains no song of {SHORTEST:g} s or more: name a folder of music")
    print(
        f"{len(songs)} of {len(paths)} files, {sum(song.seconds for song in songs) / 3600:.1f} h", file=sys.stderr
    )
    return songs


def seconds_of(path: Path) -> float:
    """Return the length of a recording in seconds; 0 if ffprobe cannot determine it."""
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path]
    output = run(command, check=False).stdout.strip()
    try:
        return float(output)
    except ValueError:
        return 0.0


def make_versions(songs: list[Song], folder: Path) -> list[Song]:
    """Write all versions of the songs to a folder; return the songs with them."""

    def made(number: int, song: Song) -> Song:
        versions = {ORIGINAL: song.path}
        command: list[object] = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", song.path]
        for kind, (ending, flags) in VERSIONS.items():
            versions[kind] = folder / f"{number}.{ending}"
            cut = ["-t", f"{song.seconds / 2:.3f}"] if kind == HALF else []
            command += ["-map", "0:a:0", "-map_metadata", "-1", *cut, *flags, versions[kind]]
        run(command)
        return Song(song.path, song.seconds, versions)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(made, range(len(songs)), songs))


def run(command: list[object], check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program; raise `BenchError` if it is missing or fails."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    except FileNotFoundError:
        raise BenchError(f"{command[0]} is missing: apt-get install ffmpeg") from None
    if check and done.returncode:
        raise BenchError(f"{command[0]} failed ({done.stderr.strip():.300}): {command[-1]}")
    return done


def bulk(url: str, songs: list[Song], rows: Path) -> None:
    """Write the embedding of each version to a file with `tritone bulk`.

    Raises
    ------
    BenchError
        If the run stopped early; failed rows are not an error.
    """
    names = rows.with_suffix(".txt")
    names.write_text("".join(f"{path}\n" for song in songs for path in song.versions.values()))
    command = [Path(sys.executable).with_name("tritone"), "bulk", names, "--out", rows, "--url", url]
    command += ["--model", SYSTEM, "--embedding", "--in-flight", IN_FLIGHT, "--timeout", 600]
    done = run(command, check=False)
    print(done.stderr.strip(), file=sys.stderr)
    if done.returncode not in (0, 1):
        raise BenchError(f"tritone bulk exited with code {done.returncode}: {done.stderr.strip()}")


def neighbours_of(rows: Path) -> dict[str, list[str]]:
    """Return file -> its nearest other files, best first, for the files in `rows` that have an embedding."""
    found = {}
    for batch in read(str(rows)):
        for file, embedding in zip(batch.files, batch.embeddings, strict=True):
            near = nearest(rows, embedding, OTHERS + 1)
            found[file] = [row.file for row in near if row.file != file][:OTHERS]
    return found


def shares(songs: list[Song], neighbours: dict[str, list[str]]) -> dict:
    """Return how often the nearest files belong to the same song, by the kind of version searched for.

    Returns
    -------
    kinds : kind -> `nearest`, the share of files whose nearest file is of the same song, and `all`, the share of
        files whose nearest three are all of the same song
    missed : names of the songs whose original's nearest three are not all of the same song
    """
    versions = [{str(path) for path in song.versions.values()} for song in songs]
    kinds = {}
    for kind in (ORIGINAL, *VERSIONS):
        near = [neighbours[str(song.versions[kind])] for song in songs]
        kinds[kind] = {
            "nearest": share(files[0] in own for files, own in zip(near, versions, strict=True)),
            "all": share(own.issuperset(files) for files, own in zip(near, versions, strict=True)),
        }
    missed = [
        song.path.name
        for song, own in zip(songs, versions, strict=True)
        if not own.issuperset(neighbours[str(song.versions[ORIGINAL])])
    ]
    return {"kinds": kinds, "missed": sorted(missed)}


def share(outcomes: Iterator[bool]) -> float:
    """Return the share of true outcomes."""
    found = list(outcomes)
    return sum(found) / len(found)


if __name__ == "__main__":
    sys.exit(main())
