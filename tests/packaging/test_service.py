"""``ccproxy service`` in front of stand-ins for systemctl and launchctl."""

import os
import plistlib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.cli.service.systemd_unit import arguments_of
from tests.packaging.commands import CCPROXY, Running
from tests.packaging.conftest import Call

# Each stand-in notes how it was called. `systemctl` knows whether the unit runs, and
# `launchctl` whether the agent is loaded, by a file.
SYSTEMCTL = """#!/bin/bash
echo "systemctl $*" >>"$HOME/calls"
case "$*" in
  "--user show-environment")
    [ ! -e "$HOME/no-bus" ] ||
      { echo "Failed to connect to bus: No medium" >&2; exit 1; } ;;
  "--user show "*) [ ! -e "$HOME/state" ] || echo "$(<"$HOME/state")" ;;
  "--user restart "*)
    [ ! -e "$HOME/broken" ] || { echo "$(<"$HOME/broken")" >"$HOME/state"
      echo "Job for ccproxy.service failed." >&2; exit 1; }
    { echo ActiveState=active; echo SubState=running; echo UnitFileState=enabled
      echo MainPID=7; echo NRestarts=2; echo Result=success
      echo "StatusText=listens on ${URL:-http://127.0.0.1:1/v1}"; } >"$HOME/state" ;;
  "--user disable --now "*) echo ActiveState=inactive >"$HOME/state" ;;
  "--user reset-failed "*) exit 1 ;;
esac
"""
LAUNCHCTL = """#!/bin/sh
echo "launchctl $*" >>"$HOME/calls"
case "$*" in
  "print gui/"*/local.ccproxy)
    [ -e "$HOME/loaded" ] || exit 113
    printf '%s = {\\n\\tstate = running\\n\\truns = 1\\n\\tpid = 7\\n}\\n' "$2" ;;
  "bootstrap gui/"*) : >"$HOME/loaded" ;;
  "bootout gui/"*) [ -e "$HOME/loaded" ] || exit 3; /bin/rm "$HOME/loaded" ;;
esac
"""
STAND_INS = {
    "systemctl": SYSTEMCTL,
    "loginctl": '#!/bin/sh\necho "${LINGER:-no}"\n',
    "journalctl": "#!/bin/sh\necho ccproxy: the port is in use\n",
    "launchctl": LAUNCHCTL,
}

Service = Callable[..., str]


class Machine:
    """A user's home, with the programs of a service manager on PATH."""

    def __init__(
        self, call: Call, home: Path, claude: str, names: Sequence[str]
    ) -> None:
        self._call = call
        self._claude = claude
        self.home = home
        self.unit = home / ".config" / "systemd" / "user" / "ccproxy.service"
        self.agent = home / "Library" / "LaunchAgents" / "local.ccproxy.plist"
        self.key = home / ".config" / "ccproxy" / "key"
        folder = home / "bin"
        folder.mkdir()
        (folder / "ccproxy").symlink_to(CCPROXY)
        for name in names:
            program = folder / name
            program.write_text(STAND_INS[name])
            program.chmod(0o755)

    def do(self, *arguments: str, status: int = 0, **variables: str) -> str:
        """What a command prints; what it prints on stderr if it fails."""
        variables = {"PATH": str(self.home / "bin"), **variables}
        done = self._call("ccproxy", "service", *arguments, **variables)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def install(self, *arguments: str, status: int = 0, **variables: str) -> str:
        claude = ("--claude-bin", self._claude)
        return self.do("install", *claude, *arguments, status=status, **variables)

    def calls(self) -> list[str]:
        """The calls of the manager since the last time."""
        file = self.home / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def changes(self) -> list[str]:
        """The calls that change something."""
        return [line for line in self.calls() if " show" not in line]


@pytest.fixture
def systemd(call: Call, tmp_path: Path, claude_bin: str) -> Machine:
    return Machine(call, tmp_path, claude_bin, ("systemctl", "loginctl", "journalctl"))


@pytest.fixture
def launchd(call: Call, tmp_path: Path, claude_bin: str) -> Machine:
    return Machine(call, tmp_path, claude_bin, ("launchctl",))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


STARTED = [
    "systemctl --user daemon-reload",
    "systemctl --user enable ccproxy.service",
    "systemctl --user reset-failed ccproxy.service",
    "systemctl --user restart ccproxy.service",
]


def test_install_writes_key_and_unit_and_starts(systemd: Machine) -> None:
    told = systemd.install("-p", "9000", "--model-map", "*=opus")
    assert systemd.changes() == STARTED
    assert mode(systemd.key) == mode(systemd.unit) == 0o600
    key = systemd.key.read_text().strip()
    assert len(key) > 30
    assert key not in told + systemd.unit.read_text()
    arguments = arguments_of(systemd.unit.read_text())
    assert arguments[1:] == ("--port=9000", "--model-map=*=opus")
    program = f"\nExecStart={systemd.home}/bin/ccproxy "
    assert program in systemd.unit.read_text()
    for path in (systemd.key, systemd.unit):
        assert f"wrote {path} (" in told
    assert "ran systemctl --user restart ccproxy.service" in told
    assert "note: the service stops when you log out; `loginctl enable-linger`" in told


def test_install_again_changes_nothing(systemd: Machine) -> None:
    systemd.install()
    systemd.calls()
    key = systemd.key.read_text()
    told = systemd.install(LINGER="yes")
    assert systemd.changes() == []
    assert "the service already runs with these settings" in told
    assert "note:" not in told
    assert systemd.key.read_text() == key
    # Other flags make another unit, with the same key.
    systemd.install("--demo")
    assert systemd.changes() == STARTED
    assert systemd.key.read_text() == key


def test_dry_run_changes_nothing_and_needs_no_manager(systemd: Machine) -> None:
    (systemd.home / "no-bus").touch()
    told = systemd.install("--dry-run", PROXY_API_KEY="of-sixteen-characters")
    assert not (systemd.home / ".config").exists()
    assert systemd.changes() == []
    assert "of-sixteen-characters" not in told
    assert f"would write {systemd.unit} (the service; mode 0600):\n" in told
    assert "\n    Type=notify\n" in told
    assert "would run systemctl --user restart ccproxy.service\n" in told


def test_key_of_the_shell(systemd: Machine) -> None:
    systemd.install(PROXY_API_KEY="mine")
    assert systemd.key.read_text() == "mine\n"
    systemd.key.write_text("another\nmine\n")
    systemd.key.chmod(0o644)
    systemd.install(PROXY_API_KEY="mine")
    assert systemd.key.read_text() == "another\nmine\n"
    assert mode(systemd.key) == 0o600
    told = systemd.install("--api-key", "third", status=2)
    assert "holds another key; add yours to that file" in told
    systemd.install("--api-key", "third", "--force")
    assert systemd.key.read_text() == "third\n"


def test_file_of_keys_stays_where_it_is(systemd: Machine) -> None:
    (systemd.home / "keys").write_text("one\n")
    systemd.install("--api-key-file", "keys")
    assert not systemd.key.exists()
    key = f"\nLoadCredential=key:{systemd.home}/keys\n"
    assert key in systemd.unit.read_text()


def test_file_that_the_command_has_not_written_is_kept(systemd: Machine) -> None:
    systemd.unit.parent.mkdir(parents=True)
    systemd.unit.write_text("[Unit]\n")
    told = systemd.install(status=1)
    assert "was not written by `ccproxy service install`; replace it with" in told
    assert not systemd.key.exists()
    told = systemd.do("uninstall", status=1)
    assert "remove it with --force" in told
    assert systemd.unit.read_text() == "[Unit]\n"
    assert systemd.changes() == []
    systemd.install("--force")
    assert "[Service]" in systemd.unit.read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--port", "x"), 2, "--port: 'x' is not a port number"),
        (("--listen", "nonsense:1"), 2, "--listen: 'nonsense:1' is not an endpoint"),
        (("--host", "0.0.0.0", "--api-key", "short"), 2, "--api-key: other machines"),
        (("--api-key", "k", "--api-key-file", "bin/ccproxy"), 2, "--api-key-file"),
        (("--agent-tools", "mcp__none"), 2, "--mcp-config"),
        (("--listen", "unix:sock"), 2, "--listen: a path in 'unix:sock' is relative"),
        (("--claude-bin", "/none"), 1, "--claude-bin: /none is not an executable file"),
        (("word",), 2, "unexpected argument 'word'; see `ccproxy service install --h"),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(
    systemd: Machine, arguments: Sequence[str], status: int, words: str
) -> None:
    told = systemd.install(*arguments, status=status)
    assert told.startswith("ccproxy service install: ")
    assert words in told
    assert told.count("\n") == 1
    assert not (systemd.home / ".config").exists()
    assert systemd.changes() == []


def test_program_in_uv_s_cache_is_refused(systemd: Machine) -> None:
    program = systemd.home / "archive-v0" / "x" / "bin" / "ccproxy"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    link = systemd.home / "bin" / "ccproxy"
    link.unlink()
    link.symlink_to(program)
    told = systemd.install(status=1)
    assert "is in uv's cache, which uv may delete; install ccproxy first" in told


def test_file_that_cannot_be_written_is_one_line(systemd: Machine) -> None:
    (systemd.home / ".config").mkdir()
    (systemd.home / ".config" / "systemd").touch()
    told = systemd.install(status=1)
    assert f"cannot read {systemd.unit}: Not a directory\n" in told
    assert systemd.changes() == []


def test_variables_that_the_service_lacks_are_named(systemd: Machine) -> None:
    told = systemd.install(CLAUDE_MODEL="opus", ANTHROPIC_API_KEY="secret", LANG="C")
    assert "variables of this shell: ANTHROPIC_API_KEY, CLAUDE_MODEL; put " in told
    assert "secret" not in told + systemd.unit.read_text()


def test_failed_start_shows_the_reason(systemd: Machine) -> None:
    broken = systemd.home / "broken"
    broken.write_text("ActiveState=failed\nStatusText=failed: there is no CLI\n")
    told = systemd.install(status=1)
    assert "\nlog: there is no CLI\n" in told
    told = systemd.do("status", status=1)
    assert "message   there is no CLI\n" in told


def test_failed_start_shows_the_log(systemd: Machine) -> None:
    (systemd.home / "broken").touch()
    told = systemd.install(status=1)
    assert "\nlog: ccproxy: the port is in use\n" in told
    last = told.splitlines()[-1]
    assert "restart ccproxy.service failed: Job for ccproxy.service failed; " in last
    # After a repair, the service is started, although its file is the same.
    (systemd.home / "broken").unlink()
    systemd.calls()
    systemd.install()
    assert systemd.changes() == STARTED


@pytest.mark.parametrize("action", ["install", "status", "uninstall"])
def test_without_a_manager(systemd: Machine, action: str) -> None:
    (systemd.home / "no-bus").touch()
    told = systemd.do(action, status=1)
    assert "the user's systemd does not answer (Failed to connect to bus: No" in told
    assert "`loginctl enable-linger" in told
    (systemd.home / "bin" / "systemctl").unlink()
    told = systemd.do(action, status=1)
    assert "neither systemd (systemctl) nor launchd (launchctl) is on PATH" in told
    assert told.count("\n") == 1


def test_status_before_and_after(systemd: Machine) -> None:
    told = systemd.do("status", status=1)
    assert told == f"service   not installed: {systemd.unit} does not exist\n"
    systemd.install()
    told = systemd.do("status", status=1)
    assert f"service   {systemd.unit} (systemd)\n" in told
    assert "state     active (running)\nprocess   7\nrestarts  2\n" in told
    assert (
        "address   http://127.0.0.1:1/v1\nready     no: no server answers at http"
        in told
    )
    (systemd.home / "state").write_text("ActiveState=failed\nResult=exit-code\n")
    told = systemd.do("status", status=1)
    assert "state     failed (unknown), last result exit-code\n" in told
    assert "log       journalctl --user --unit ccproxy.service\n" in told


@ensureDeferred
async def test_status_asks_the_server(
    systemd: Machine, start: Callable[..., Running], claude_bin: str
) -> None:
    systemd.install("--demo")
    server = start(
        *(CCPROXY, "--demo", "-p", "0", "--api-key-file", str(systemd.key)),
        CLAUDE_BIN=claude_bin,
    )
    url = await server.url()
    state = (systemd.home / "state").read_text()
    state = state.replace("http://127.0.0.1:1/v1", f"{url}/v1")
    (systemd.home / "state").write_text(state)

    told = systemd.do("status", status=0)
    assert f"\naddress   {url}/v1\nready     yes: ready" in told
    systemd.key.write_text("another\n")
    told = systemd.do("status", status=1)
    assert "ready     no: status 401: " in told


def test_uninstall_names_the_files_that_it_keeps(systemd: Machine) -> None:
    state = systemd.home / "kept"
    state.mkdir()
    systemd.install("--state-dir", str(state))
    systemd.calls()
    told = systemd.do("uninstall", "--dry-run")
    assert f"would remove {systemd.unit}\n" in told
    assert systemd.changes() == []
    told = systemd.do("uninstall")
    assert systemd.changes() == [
        "systemctl --user disable --now ccproxy.service",
        "systemctl --user daemon-reload",
        "systemctl --user reset-failed ccproxy.service",
    ]
    assert not systemd.unit.exists()
    assert f"removed {systemd.unit}\n" in told
    assert f"kept {systemd.key} (the API key)\nkept {state} (stored data)\n" in told
    told = systemd.do("uninstall")
    assert told == f"there is no service: {systemd.unit} does not exist\n"


def test_launchd(launchd: Machine) -> None:
    domain = f"gui/{os.getuid()}"
    told = launchd.install("--demo", "-p", "1")
    agent = plistlib.loads(launchd.agent.read_bytes())
    assert agent["ProgramArguments"][-2:] == [
        "--port=1",
        f"--api-key-file={launchd.key}",
    ]
    assert mode(launchd.key) == mode(launchd.agent) == 0o600
    assert f"`tail {launchd.home}/Library/Logs/ccproxy.log` its log\n" in told
    assert launchd.calls()[-3:] == [
        f"launchctl print {domain}/local.ccproxy",
        f"launchctl enable {domain}/local.ccproxy",
        f"launchctl bootstrap {domain} {launchd.agent}",
    ]
    launchd.install("--demo", "-p", "1")
    assert not any("bootstrap" in line for line in launchd.calls())
    told = launchd.do("status", status=1)
    assert "state     running\nprocess   7\nstarts    1\n" in told
    assert "address   http://127.0.0.1:1/v1\nready     no: no server" in told
    told = launchd.do("uninstall")
    assert f"launchctl bootout {domain}/local.ccproxy" in launchd.calls()
    assert f"kept {launchd.key} (the API key)\n" in told
    assert not launchd.agent.exists()
    assert "not installed" in launchd.do("status", status=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what to do: install, status or uninstall"),
        (("start",), "unexpected argument 'start'; see `ccproxy service --help`"),
        (("status", "--port", "1"), "option --port not recognized; see `ccproxy serv"),
    ],
)
def test_wrong_actions(systemd: Machine, arguments: Sequence[str], words: str) -> None:
    assert words in systemd.do(*arguments, status=2)


@pytest.mark.parametrize("action", ["install", "status", "uninstall"])
def test_help(systemd: Machine, action: str) -> None:
    told = systemd.do(action, "--help")
    assert told.startswith(f"Usage: ccproxy service {action}")
    assert "\nOptions:\n" in told
    assert f"ccproxy service {action}" in systemd.do("--help")
