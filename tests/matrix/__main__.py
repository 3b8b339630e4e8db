"""Tests published versions of the CLI, and writes the results to docs/cli-versions.md.

A version is checked with ``ccproxy conformance``. For ``--e2e``, all end-to-end tests
are run with it, too, and an update of the CLI from it to the newest version in FOLDER.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.matrix import table

PAGE = Path(__file__).parents[2] / "docs" / "cli-versions.md"
PACKAGE = "@anthropic-ai/claude-code-linux-x64"
_CHECK_SECONDS = 300


def published() -> Sequence[str]:
    """All supported versions that npm has."""
    command = ["npm", "view", PACKAGE, "versions", "--json"]
    versions = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return [each for each in versions if table.is_supported(each)]


def program(folder: Path, version: str) -> Path:
    """The program of a version; fetched with npm if it is not in the folder."""
    place = folder / version
    if not (place / "claude").exists():
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{PACKAGE}@{version}"]
        done = subprocess.run(command, cwd=place, check=True, capture_output=True)
        archive = place / done.stdout.decode().split()[-1]
        with tarfile.open(archive) as files:
            member = files.getmember("package/claude")
            member.name = "claude"
            files.extract(member, place, filter="data")
        archive.unlink()
        (place / "claude").chmod(0o755)
    return place / "claude"


def check(binary: Path) -> Mapping[str, Any]:
    """The document of ``ccproxy conformance``; only ``error`` if there is none."""
    command = [
        *(sys.executable, "-m", "ccproxy", "conformance", "--json"),
        *("--claude-bin", str(binary)),
    ]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, timeout=_CHECK_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_CHECK_SECONDS} seconds"}
    try:
        found: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.decode().strip().splitlines()
        return {"error": lines[-1] if lines else f"exit status {done.returncode}"}
    return found


def run_end_to_end(binary: Path, newest: Path) -> str:
    """The result of all end-to-end tests: ``526 passed, 3 skipped``."""
    report = binary.parent / "end-to-end.xml"
    report.unlink(missing_ok=True)
    named = {"CCPROXY_TEST_CLAUDE": str(binary), "CCPROXY_NEWER_CLAUDE": str(newest)}
    command = [
        *(sys.executable, "-m", "pytest", "-q", "tests/e2e"),
        f"--junitxml={report}",
    ]
    done = subprocess.run(command, check=False, env={**os.environ, **named})
    # 0: all passed, 1: some failed; any other status is no result.
    if done.returncode not in (0, 1) or not report.exists():
        return f"failed: exit status {done.returncode}"
    return table.end_to_end(report.read_text())


def main() -> int:
    """Exit status 1: a supported version falls short, or a test failed."""
    arguments = parsed()
    folder: Path = arguments.folder
    named = {*arguments.versions, *arguments.end_to_end}
    if arguments.published:
        named.update(published())
    ordered = sorted(named, key=table.numbers)
    newest = program(folder, ordered[-1])
    date = datetime.now(UTC).date().isoformat()
    has_failed = False
    for version in ordered:
        binary = program(folder, version)
        row = table.read(PAGE.read_text()).get(version, table.Row(version))
        row = table.checked(row, check(binary), date)
        if version in arguments.end_to_end:
            result = run_end_to_end(binary, newest)
            row = replace(row, end_to_end=f"{result} ({date})")
        has_failed |= row.has_failed
        print(row, flush=True)
        rows = {**table.read(PAGE.read_text()), version: row}
        PAGE.write_text(table.write(PAGE.read_text(), rows.values()))
    return int(has_failed)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument(
        "folder",
        type=Path,
        help="has the program of each version as VERSION/claude; what is missing is "
        "fetched with npm",
    )
    parser.add_argument("versions", nargs="*", default=[], metavar="VERSION")
    parser.add_argument(
        "--published", action="store_true", help="check all supported versions of npm"
    )
    parser.add_argument(
        "--e2e",
        dest="end_to_end",
        nargs="+",
        default=[],
        metavar="VERSION",
        help="also run the end-to-end tests with these versions",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
