"""``ccproxy usage`` as a user types it."""

import json
import time
from pathlib import Path

import pytest

from ccproxy import __version__
from ccproxy.core.stream import Usage
from ccproxy.core.usage import RateWindow, UsageKey, UsageTotals
from ccproxy.store import usage
from ccproxy.store.engine import Connections, open_engines, sqlite_url
from ccproxy.store.usage import day_of
from tests.packaging.commands import CCPROXY, run
from tests.packaging.conftest import Call


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a ledger: something of today, and something old."""
    now = time.time()
    url = sqlite_url(tmp_path / "state" / "responses.sqlite")
    opened = open_engines(url, "test", Connections())
    who = ("claude-sonnet-5-5", "1a2b3c4d", "curl")
    totals = UsageTotals(2, Usage(input_tokens=22, output_tokens=40), 454_600)
    window = RateWindow(
        name="five_hour",
        used=0.62,
        status="allowed",
        resets_seconds=now + 60,
        reported_seconds=now,
    )
    with opened.writing.begin() as connection:
        lines = {UsageKey(day_of(now - age * 86_400), *who): totals for age in (0, 20)}
        usage.write_usage(connection, lines, [window])
    opened.close()
    return tmp_path / "state"


def test_table(tmp_path: Path, call: Call, state: Path) -> None:
    done = run(CCPROXY, "usage", "--state-dir", str(state), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "claude-sonnet-5-5  1a2b3c4d  curl" in done.stdout
    [total] = [line for line in done.stdout.splitlines() if line.startswith("total")]
    assert total.split() == ["total", "2", "22", "0", "0", "0", "%", "40", "$0.0005"]
    assert "\n5-hour window 62 %, resets " in done.stdout
    done = call("ccproxy", "usage", "--since=4w", f"--state-dir={state}")
    [total] = [line for line in done.stdout.splitlines() if line.startswith("total")]
    assert total.split()[1] == "4"


def test_json(call: Call, state: Path) -> None:
    done = call("ccproxy", "usage", "--json", CCPROXY_STATE_DIR=str(state))
    document = json.loads(done.stdout)
    assert document["total"]["cost_usd"] == 0.0004546
    assert [limit["used"] for limit in document["rate_limits"]] == [0.62]


def test_nothing_yet_is_no_error_and_makes_nothing(call: Call, tmp_path: Path) -> None:
    done = call("ccproxy", "usage")
    assert done.returncode == 0
    assert done.stdout.endswith("no requests were answered\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--since", "soon"), 2, "--since: 'soon' is none of 7d, 4w"),
        (("--nonsense",), 2, "option --nonsense not recognized; see `ccproxy usage"),
        (("more",), 2, "unexpected argument 'more'; see `ccproxy usage"),
        (("--keep-days", "x"), 2, "--keep-days: 'x' is not a number of days"),
        (("--demo",), 2, "no database is given: set --state-dir or --database-url"),
        (("--state-dir", "broken"), 1, "the store cannot be read: file is not a data"),
    ],
)
def test_what_is_wrong_is_one_line(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "responses.sqlite").write_bytes(b"no database" * 200)
    done = call("ccproxy", "usage", *arguments)
    assert done.returncode == status
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("ccproxy usage: ")
    assert words in line


@pytest.mark.parametrize("command", ["usage", "doctor", "ready"])
def test_version_is_ours(call: Call, command: str) -> None:
    done = call("ccproxy", command, "--version")
    assert (done.returncode, done.stdout) == (0, f"ccproxy {__version__}\n")
