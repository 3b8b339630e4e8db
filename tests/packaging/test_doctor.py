"""``ccproxy doctor`` as a user types it, mostly in a process of its own."""

import json
import os
import pty
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from typing_extensions import override

from ccproxy.cli.doctor.claude import login_remedy
from tests.integration.claude.conftest import FakeClaude
from tests.integration.claude.conftest import fake as fake  # a fixture
from tests.packaging.conftest import Call
from tests.support.server import Upstream, answer
from tests.support.waiting import until

_REACTOR: Any = reactor
CCPROXY = str(Path(sys.executable).parent / "ccproxy")
KEY = "a-secret-key"


class Told:
    """What it said: verdicts by name, the exit status, and all words."""

    def __init__(self, output: bytes, error: bytes, status: int) -> None:
        self.text, self.error, self.status = output.decode(), error.decode(), status
        self._lines = [line for line in self.text.splitlines() if line[:1].isalpha()]
        words = [line.split() for line in self._lines]
        self.verdicts = {line[1]: line[0] for line in words if len(line) > 1}

    def line(self, name: str) -> str:
        [line] = [line for line in self._lines if line.split()[1] == name]
        return line

    @property
    def wrong(self) -> set[str]:
        return {name for name, level in self.verdicts.items() if level == "wrong"}


@pytest.fixture
def doctor(tmp_path: Path, fake: Callable[[str], FakeClaude]) -> Callable[..., Any]:
    """Runs it in front of a CLI that plays a scenario, or of the real one."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()

    async def run(
        *flags: str,
        scenario: str = "answer",
        variables: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> Told:
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "PROXY_API_KEY": KEY,
            "PORT": "0",
            **({"CLAUDE_BIN": str(fake(scenario).binary)} if scenario else {}),
            **(variables or {}),
        }
        command = [*prefix, CCPROXY, "doctor", *flags]
        told = Told(
            *await getProcessOutputAndValue(
                shutil.which(command[0]), command[1:], env, str(tmp_path)
            )
        )
        assert KEY not in told.text + told.error
        assert "Traceback" not in told.text + told.error
        assert list(temporary.iterdir()) == []
        return told

    return run


@ensureDeferred
async def test_all_is_well_with_the_real_cli(
    doctor: Callable[..., Any], upstream: Upstream, tmp_path: Path
) -> None:
    upstream.script(answer("ready"))
    told = await doctor(
        "--ask",
        scenario="",
        variables={
            "ANTHROPIC_BASE_URL": upstream.url,
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
        },
    )
    assert (told.status, told.wrong) == (0, set()), told.text
    assert "found in the wheel claude-agent-sdk, is 2." in told.line("claude")
    assert "started and initialized in " in told.line("session")
    assert "ANTHROPIC_API_KEY, as the claude CLI reports" in told.line("login")
    assert "sonnet is claude-sonnet" in told.line("model")
    assert "answered 'ready': first token after " in told.line("answer")
    # It has changed nothing of ours.
    assert not (tmp_path / "home" / ".local").exists()


@ensureDeferred
async def test_the_real_cli_says_that_it_is_not_logged_in(
    doctor: Callable[..., Any],
) -> None:
    told = await doctor(scenario="")
    assert (told.status, told.wrong) == (1, {"login"}), told.text
    # The test's environment names no display.
    assert "; no browser can be opened here: run `claude setup-token` on " in told.line(
        "login"
    )
    assert "set CLAUDE_CODE_OAUTH_TOKEN here" in told.line("login")


@pytest.mark.parametrize(
    ("variables", "platform", "has_browser"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
    ],
)
def test_remedy_for_a_login_is_one_for_this_machine(
    variables: Mapping[str, str], platform: str, has_browser: bool
) -> None:
    remedy = login_remedy(Path("/opt/bin/claude"), variables, platform)
    assert ("claude setup-token" in remedy) is not has_browser
    assert "`/opt/bin/claude`" in remedy
    assert remedy.endswith("or set ANTHROPIC_API_KEY")


def test_wrong_flag_is_one_line_and_two(call: Call) -> None:
    told = call("ccproxy", "doctor", "--nope")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        "ccproxy doctor: option --nope not recognized; see `ccproxy doctor --help`\n"
    )


@ensureDeferred
async def test_wrong_setting_is_one_line_and_two(doctor: Callable[..., Any]) -> None:
    told = await doctor("--listen", "nope:1")
    assert (told.status, told.text) == (2, "")
    assert told.error.startswith(
        "ccproxy doctor: --listen: 'nope:1' is not an endpoint"
    )
    assert told.error.count("\n") == 1


@ensureDeferred
async def test_several_things_are_wrong_at_once(
    doctor: Callable[..., Any], tmp_path: Path
) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    # Whoever asks there is told at once that nobody is.
    taken.close()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", port))
        told = await doctor(
            *("--port", str(port), "--state-dir", CCPROXY),
            scenario="old",
            variables={"PROXY_API_KEY": ""},
        )
    assert told.status == 1
    assert told.wrong == {"key", "claude", "state", "port"}
    assert "version 2.1.100; ccproxy needs 2.1.251" in told.line("claude")
    assert f"cannot listen on tcp:{port}" in told.line("port")
    assert told.verdicts["session"] == "skipped"


# Root may write everywhere, unless it has been told otherwise.
_UNPRIVILEGED = ("setpriv", "--inh-caps", "-all", "--bounding-set", "-all")


@ensureDeferred
async def test_state_directory_that_cannot_be_written(
    doctor: Callable[..., Any], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o500)
    prefix = _UNPRIVILEGED if os.geteuid() == 0 else ()
    told = await doctor("--state-dir", str(state), prefix=prefix)
    assert (told.status, told.wrong) == (1, {"state"}), told.text
    words = "cannot be written: Permission denied; give it to this user"
    assert words in told.line("state")


@ensureDeferred
async def test_json(doctor: Callable[..., Any]) -> None:
    told = await doctor("--json", "--claude-bin", "/nope")
    document = json.loads(told.text)
    assert (told.status, document["ok"]) == (1, False)
    [claude] = [check for check in document["checks"] if check["name"] == "claude"]
    assert claude["verdict"] == "wrong"


@pytest.mark.parametrize(
    ("variables", "is_colourful"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_colours_on_a_terminal(
    tmp_path: Path, variables: dict[str, str], is_colourful: bool
) -> None:
    ours, its = pty.openpty()
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PORT": "0", **variables}
    command = [CCPROXY, "doctor", "--claude-bin", "/nope"]
    done = subprocess.run(command, env=env, stdout=its, timeout=60, check=False)
    os.close(its)
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 1
    assert "--claude-bin: /nope" in text
    assert ("\x1b[31mwrong" in text) is is_colourful
    assert ("\x1b" in text) is is_colourful


@ensureDeferred
async def test_demo(doctor: Callable[..., Any]) -> None:
    told = await doctor("--demo", scenario="", variables={"PROXY_API_KEY": ""})
    assert (told.status, told.wrong) == (0, set()), told.text
    assert "deleted when the server stops" in told.line("state")


@ensureDeferred
async def test_interrupted_in_the_middle(
    tmp_path: Path, fake: Callable[[str], FakeClaude]
) -> None:
    claude = fake("mute")
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    env |= {"CLAUDE_BIN": str(claude.binary), "PROXY_API_KEY": KEY, "PORT": "0"}
    ended: Deferred[int] = Deferred()

    class Ends(ProcessProtocol):
        @override
        def processEnded(self, reason: Any) -> None:
            ended.callback(reason.value.exitCode)

    process: Any = _REACTOR.spawnProcess(Ends(), CCPROXY, [CCPROXY, "doctor"], env)
    await until(claude.log.read_bytes)
    process.signalProcess("INT")
    assert await ended == 130
    assert list(tmp_path.glob("ccproxy-*")) == []
