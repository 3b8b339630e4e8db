"""The checks in the booted system. `tests.boot` starts this program as root.

The program can use the standard library only. Each check prints a line when it has
passed.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

JOB = Path("/job")
HOME = Path("/home/me")
KEY = HOME / ".config" / "ccproxy" / "key"
ENVIRONMENT = HOME / ".config" / "ccproxy" / "environment"
PORT = 8080
# Generous: the machine may be busy.
SECONDS = 120
HELLO = {"stream": True, "messages": [{"role": "user", "content": "Hello!"}]}


def run(*command: str, status: int | None = 0, user: str = "root") -> str:
    """What a command prints; it must end with the status, unless that is None."""
    if user != "root":
        path = "PATH=/usr/local/bin:/usr/bin:/bin"
        variables = (f"HOME={HOME}", f"USER={user}", path)
        # Without XDG_RUNTIME_DIR, as with `su`.
        command = ("runuser", "-u", user, "--", "env", "-i", *variables, *command)
    folder = HOME if user != "root" else Path("/")
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if status is not None:
        assert done.returncode == status, f"{command}: {done.stdout}"
    return done.stdout


def me(*command: str, status: int | None = 0) -> str:
    """Run a command as the user."""
    if command[0] == "systemctl":
        command = ("env", f"XDG_RUNTIME_DIR=/run/user/{uid()}", *command)
    return run(*command, status=status, user="me")


def uid() -> int:
    return HOME.stat().st_uid


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.1)


@contextmanager
def asking(key: str) -> Iterator[HTTPResponse]:
    """Ask for a streamed answer, whose head is there."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=SECONDS)
    headers = {"Authorization": f"Bearer {key}"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(HELLO), headers)
        yield connection.getresponse()
    finally:
        connection.close()


def words_of(stream: str) -> str:
    """The text of a streamed answer, which must be whole."""
    *events, done = [line[6:] for line in stream.splitlines() if line]
    assert done == "[DONE]", stream
    choices = [json.loads(event)["choices"] for event in events]
    return "".join(each[0]["delta"].get("content") or "" for each in choices if each)


class Unit:
    """A unit of systemd, of the user's or the machine's."""

    def __init__(self, *systemctl: str, key: Path) -> None:
        self._systemctl = systemctl
        self._run = me if "--user" in systemctl else run
        self._key = key

    @property
    def key(self) -> str:
        return self._key.read_text().strip()

    def do(self, *arguments: str, status: int | None = 0) -> str:
        return self._run(*self._systemctl, *arguments, status=status)

    def get(self, name: str, unit: str = "ccproxy.service") -> str:
        return self.do("show", unit, f"--property={name}", "--value").strip()

    @property
    def is_active(self) -> bool:
        return self.get("ActiveState") == "active"

    def check_answer(self) -> None:
        with asking(self.key) as response:
            text = response.read().decode()
        assert "the ccproxy demo" in words_of(text)

    def check_key(self) -> None:
        """The key is a credential of the service, and in no list of processes."""
        process = Path("/proc") / self.get("MainPID")
        command = (process / "cmdline").read_text()
        assert "/credentials/ccproxy.service/key\0" in command
        for name in ("cmdline", "environ"):
            assert self.key not in (process / name).read_text()
        with asking("wrong") as response:
            assert response.status == 401

    def check_restart(self) -> None:
        """A server that is killed is started anew, and its CLI is gone."""
        before, restarts = self.get("MainPID"), int(self.get("NRestarts"))
        os.kill(int(before), 9)
        until(lambda: int(self.get("NRestarts")) > restarts and self.is_active)
        assert self.get("MainPID") != before
        self.check_answer()

    def check_stop(self) -> None:
        """A running answer ends before the server; no new request is accepted."""
        with asking(self.key) as response:
            begin = response.readline()
            self.do("stop", "--no-block", "ccproxy.service")
            until(lambda: self.get("ActiveState") == "deactivating")
            assert self.get("StatusText") == "waits for running answers"
            with socket.socket() as late:
                assert late.connect_ex(("127.0.0.1", PORT)) != 0
            text = (begin + response.read()).decode()
        assert "the ccproxy demo" in words_of(text)
        until(lambda: self.get("ActiveState") == "inactive")
        assert self.get("Result") == "success"
        assert run("pgrep", "claude", status=1) == ""

    def check_socket(self) -> None:
        """The first client starts the server, and none is refused while it restarts."""
        assert not self.is_active
        self.check_answer()
        assert self.is_active
        before = self.get("MainPID")
        self.do("restart", "--no-block", "ccproxy.service")
        until(lambda: self.get("MainPID") != before)
        self.check_answer()


def passed(what: str) -> None:
    print(f"ok: {what}")


def prepare() -> None:
    """Install the wheels and the CLI, and make a user with a manager of its own."""
    run("python3", "-m", "venv", "/opt/ccproxy")
    wheels = ("--no-index", "--find-links", str(JOB / "wheels"))
    run("/opt/ccproxy/bin/pip", "install", "--quiet", *wheels, "ccproxy-server")
    run("/opt/ccproxy/bin/twistd", "--help")
    (JOB / "claude").chmod(0o755)
    Path("/usr/local/bin/claude").symlink_to(JOB / "claude")
    Path("/usr/local/bin/ccproxy").symlink_to("/opt/ccproxy/bin/ccproxy")
    run("useradd", "--create-home", "me")
    told = me("ccproxy", "service", "install", "--demo", status=1)
    assert "the user's systemd does not answer" in told, told
    run("loginctl", "enable-linger", "me")
    manager = Path(f"/run/user/{uid()}/systemd/private")
    until(manager.exists)


@contextmanager
def taken_port() -> Iterator[None]:
    with socket.create_server(("127.0.0.1", PORT)):
        yield


def check_user_service() -> None:
    unit = Unit("systemctl", "--user", key=KEY)
    install = ("ccproxy", "service", "install", "--demo", "--log-format=json")
    with taken_port():
        told = me(*install, status=1)
    assert "Address already in use" in told, told
    passed("a port in use fails the installation, with the reason")
    told = me(*install)
    assert "note:" not in told, told
    told = me("ccproxy", "service", "status")
    assert "ready     yes: ready" in told, told
    assert f"http://127.0.0.1:{PORT}/v1" in unit.get("StatusText")
    passed("it is installed, started and ready")
    process = unit.get("MainPID")
    assert "already runs with these settings" in me(*install)
    assert unit.get("MainPID") == process
    passed("installed again, it is left alone")
    unit.check_key()
    unit.check_answer()
    unit.check_restart()
    passed("credential, answer, restart after kill -9")
    unit.check_stop()
    passed("the running answer ends before the server")
    check_journal(f"_UID={uid()}")
    odd = ("--state-dir=s p/100%", "--model-map=a b=opus", "--model-map=x=$HOME")
    me(*install, *odd)
    command = Path("/proc", unit.get("MainPID"), "cmdline").read_text().split("\0")
    wanted = [f"--state-dir={HOME}/s p/100%", *odd[1:]]
    assert [word for word in command if word in wanted] == wanted, command
    passed("arguments reach the server as they were typed")

    units = HOME / ".config" / "systemd" / "user"
    me("cp", str(JOB / "contrib/systemd/ccproxy.socket"), str(units))
    ENVIRONMENT.write_text("CCPROXY_LISTEN=systemd:domain=INET:index=0\n")
    unit.do("disable", "--now", "ccproxy.service")
    unit.do("daemon-reload")
    unit.do("enable", "--now", "ccproxy.socket")
    unit.check_socket()
    passed("socket activation")
    unit.do("disable", "--now", "ccproxy.socket")
    told = me("ccproxy", "service", "uninstall")
    assert f"kept {KEY} (the API key)" in told, told
    assert f"kept {HOME}/s p/100% (stored data)" in told, told
    assert unit.get("LoadState") == "not-found"
    passed("it is removed, and says what stays")


def check_system_service() -> None:
    folder = Path("/etc/ccproxy")
    folder.mkdir(mode=0o700)
    key = folder / "key"
    key.write_text("a-key-of-sixteen-characters\n")
    key.chmod(0o600)
    variables = folder / "environment"
    variables.write_text("CCPROXY_DEMO=1\nCCPROXY_LOG_FORMAT=json\n")
    units = Path("/etc/systemd/system")
    run("cp", str(JOB / "contrib/systemd/system/ccproxy.service"), str(units))
    unit = Unit("systemctl", key=key)
    unit.do("daemon-reload")
    unit.do("enable", "--now", "ccproxy.service")
    unit.check_key()
    unit.check_answer()
    process = Path("/proc", unit.get("MainPID"))
    lines = (process / "status").read_text().splitlines()
    told = dict(line.split(":\t", 1) for line in lines)
    assert (told["CapEff"], told["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    assert process.stat().st_uid not in (0, uid())
    passed("the system unit starts, without capabilities, under its filter")
    unit.check_restart()
    unit.check_stop()
    check_journal("_SYSTEMD_UNIT=ccproxy.service")
    run("cp", str(JOB / "contrib/systemd/ccproxy.socket"), str(units))
    variables.write_text(
        f"{variables.read_text()}CCPROXY_LISTEN=systemd:domain=INET:index=0\n"
    )
    unit.do("disable", "ccproxy.service")
    unit.do("daemon-reload")
    unit.do("enable", "--now", "ccproxy.socket")
    unit.check_socket()
    unit.do("stop", "ccproxy.socket", "ccproxy.service")
    passed("the system unit: restart, stop, journal, socket activation")


def check_journal(match: str) -> None:
    """The log is JSON, one object a line; it has no key and no prompt."""
    found = run("journalctl", "--output=cat", match, "SYSLOG_IDENTIFIER=ccproxy")
    lines = [line for line in found.splitlines() if line.startswith("{")]
    records = [json.loads(line) for line in lines]
    messages = [record["message"] for record in records]
    assert any("listens on" in message for message in messages), found
    assert any("Received SIGTERM" in message for message in messages), found
    assert not any("plugin cache" in message for message in messages), found
    assert "Hello! This is" not in found


def main() -> None:
    prepare()
    check_user_service()
    check_system_service()
    print("all passed")


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        print(run("journalctl", "--no-pager", "--lines=60", status=None))
        raise
