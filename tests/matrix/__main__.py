"""Runs ``ccproxy conformance`` on published versions of the CLI, and writes the table.

``python -m tests.matrix [--e2e] FOLDER [VERSION …]``: FOLDER has a folder for each
version, with the program ``claude`` in it. A version that is not there is fetched with
npm. Without versions, all versions in FOLDER are checked. The table replaces the one in
docs/cli-versions.md. With ``--e2e``, the end-to-end tests are run afterwards on each
supported version, and an update of the CLI from each one to the newest. Exit status 1:
a version that is supported falls short, or a test fails.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ccproxy.claude.installation.contract import CONTRACT, is_newer
from ccproxy.claude.process.binary import OLDEST_VERSION

PAGE = Path(__file__).parents[2] / "docs" / "cli-versions.md"
PACKAGE = "@anthropic-ai/claude-code-linux-x64"
BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
_SECONDS = 300
_OLDEST = ".".join(map(str, OLDEST_VERSION))


def fetch(folder: Path, version: str) -> None:
    """Fetch the program of a version."""
    place = folder / version
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


def check(binary: Path) -> Mapping[str, Any]:
    """The document of ``ccproxy conformance``; with ``error`` if there is none."""
    command = [
        *(sys.executable, "-c", "from ccproxy.cli.entry import main; main()"),
        *("conformance", "--json", "--claude-bin", str(binary)),
    ]
    done = subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS)
    try:
        found: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"error": done.stderr.decode().strip().splitlines()[-1]}
    return found


def is_supported(version: str) -> bool:
    """Whether the proxy starts this version."""
    return not is_newer(_OLDEST, version)


def passes_e2e(binary: Path, newest: Path) -> bool:
    """Whether all end-to-end tests pass with a version."""
    named = {"CCPROXY_TEST_CLAUDE": str(binary), "CCPROXY_NEWER_CLAUDE": str(newest)}
    command = [sys.executable, "-m", "pytest", "-q", "tests/e2e"]
    done = subprocess.run(command, check=False, env={**os.environ, **named})
    print(f"{binary}: end-to-end tests: status {done.returncode}", flush=True)
    return done.returncode == 0


def row(version: str, found: Mapping[str, Any]) -> str:
    """A row of the table."""
    if "error" in found:
        return f"| {version} | refused | | |"
    passed = sum(each["verdict"] == "ok" for each in found["checks"])
    lacks = [
        f"`{each['name']}` ({each['verdict']}: {each['difference']})"
        for each in found["checks"]
        if each["verdict"] != "ok"
    ]
    result = found["standing"] if is_supported(version) else "refused"
    count = f"{passed} of {len(CONTRACT)}"
    return f"| {version} | {result} | {count} | {', '.join(lacks) or 'nothing'} |"


def table(rows: Sequence[str]) -> str:
    """The table, with its date."""
    date = datetime.now(UTC).date().isoformat()
    head = "| version | result | checks passed | what it lacks |\n|---|---|---|---|"
    return f"{BEGIN}\nRun on {date}.\n\n{head}\n" + "\n".join(rows) + f"\n{END}"


def main() -> int:
    has_e2e = "--e2e" in sys.argv
    folder, *versions = [each for each in sys.argv[1:] if each != "--e2e"]
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    named = versions or [path.name for path in place.iterdir() if path.is_dir()]
    rows, is_well = [], True
    ordered = sorted(set(named), key=lambda v: [*map(int, v.split("."))])
    for version in ordered:
        if not (place / version / "claude").exists():
            fetch(place, version)
        found = check(place / version / "claude")
        is_well &= bool(found.get("ok", False)) or not is_supported(version)
        rows.append(row(version, found))
        print(rows[-1], flush=True)
    text = PAGE.read_text()
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: table(rows), text))
    for version in filter(is_supported, ordered) if has_e2e else ():
        is_well &= passes_e2e(
            place / version / "claude", place / ordered[-1] / "claude"
        )
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
