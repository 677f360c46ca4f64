"""`make audit`: lists pins with known vulnerabilities and packages with newer versions. Changes nothing.

Runs in a virtual environment of its own, which contains pip-audit.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from requirements.pins import FOLDER, PYTHONS, versions

TIMEOUT_S = 600


class AuditError(Exception):
    """A service could not be queried; the message is one sentence that says why."""


def batches() -> list[dict[str, str]]:
    """All pins, each once, split so that no part names a package twice."""
    seen: set[tuple[str, str]] = set()
    parts = []
    for python in reversed(PYTHONS):
        pins: dict[str, str] = {}
        for file in sorted(FOLDER.glob("*.txt")):
            pins |= versions(file, python)
        parts.append({name: version for name, version in pins.items() if (name, version) not in seen})
        seen |= pins.items()
    return [part for part in parts if part]


def vulnerabilities(pins: dict[str, str]) -> list[dict[str, Any]]:
    """Return pip-audit's entry for each pin.

    Raises
    ------
    AuditError
        If the vulnerability service cannot be reached or does not know some pins; pip-audit reports no
        vulnerability for an unknown pin.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        options = ["--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json"]
        command = [sys.executable, "-m", "pip_audit", *options, "--requirement", str(file)]
        done = run(command)
    try:
        entries = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise AuditError(f"The vulnerability service cannot be reached: {last_line(done.stderr)}") from None
    skipped = [entry["name"] for entry in entries if "skip_reason" in entry]
    if skipped:
        which = ", ".join(skipped[:3]) + (" and others" if len(skipped) > 3 else "")
        raise AuditError(
            f"The vulnerability service does not answer for {len(skipped)} of {len(entries)} pins ({which})."
        )
    return entries


def outdated(site_packages: str) -> list[dict[str, str]]:
    """Return the packages in a folder that have newer versions on the index.

    Raises
    ------
    AuditError
        If pip cannot list them.
    """
    done = run([sys.executable, "-m", "pip", "list", "--outdated", "--format=json", "--path", site_packages])
    if done.returncode:
        raise AuditError(f"The package index cannot be queried: {last_line(done.stderr)}")
    return json.loads(done.stdout)


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command for at most `TIMEOUT_S` seconds and capture its output."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise AuditError(f"There was no answer within {TIMEOUT_S} s.") from None


def last_line(text: str) -> str:
    """Return the last line of a program's error output, which says what went wrong."""
    return (text.strip().splitlines() or ["no reason given"])[-1]


def main(site_packages: str) -> int:
    """Print both lists; return 1 if a pin is vulnerable or a query failed."""
    failed = 0
    try:
        newer = outdated(site_packages)
        print(
            f"{len(newer)} of the installed packages have a newer version:"
            if newer
            else "All installed packages are up to date."
        )
        for entry in newer:
            print(f"  {entry['name']} {entry['version']} -> {entry['latest_version']}")
    except AuditError as error:
        print(error, file=sys.stderr)
        failed = 1
    try:
        found = [(entry, v) for pins in batches() for entry in vulnerabilities(pins) for v in entry["vulns"]]
    except AuditError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(found)} known vulnerabilities:" if found else "No pin has a known vulnerability.")
    for entry, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
        print(f"  {entry['name']} {entry['version']}: {vulnerability['id']}, fixed in {fixed}")
    return 1 if found else failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
