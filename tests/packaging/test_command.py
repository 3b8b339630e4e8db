"""The command line as a user types it."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol

from ccproxy import __version__
from ccproxy.config.options import Group
from ccproxy.config.settings import OPTIONS
from tests.integration.claude.conftest import FakeClaude
from tests.integration.claude.conftest import fake as fake  # a fixture
from tests.packaging.commands import CCPROXY, TWISTD, Running, environment, get, run
from tests.packaging.conftest import Call
from tests.support.children import children_of
from tests.support.raw import RawClient, connect, request
from tests.support.server import Upstream, answer, chat_body
from tests.support.waiting import until

Fake = Callable[[str], FakeClaude]


@pytest.mark.parametrize("name", ["ccproxy", "claude-code-proxy"])
def test_help_names_every_option(call: Call, name: str) -> None:
    done = call(name, "--help")
    assert done.returncode == 0
    for option in OPTIONS:
        shown = (
            f" --{option.flag} " in done.stdout or f"--{option.flag}\n" in done.stdout
        )
        assert shown is not option.is_hidden
        assert (f"[{option.variable}" in done.stdout) is not option.is_hidden
        for former in option.old:
            assert not former.flag or f" --{former.flag} " not in done.stdout
    headings = re.findall(r"^(\S.*):$", done.stdout, re.MULTILINE)
    assert headings == [*(group.value for group in Group), "Other options"]
    assert "ccproxy doctor" in done.stdout


@pytest.mark.parametrize("command", ["doctor", "usage"])
def test_help_of_a_command_has_its_own_options(call: Call, command: str) -> None:
    done = call("ccproxy", command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: ccproxy {command} [--")
    assert re.findall(r"^(\S.*):$", done.stdout, re.MULTILINE) == ["Options"]
    assert "see `ccproxy --help`" in done.stdout.splitlines()[-2]
    assert "--port" not in done.stdout


@pytest.mark.parametrize(
    "name", [former.flag for option in OPTIONS for former in option.old if former.flag]
)
def test_former_flag_is_taken(call: Call, name: str) -> None:
    done = call("ccproxy", "usage", f"--{name}=1")
    assert (done.returncode, done.stderr) == (0, "")


def test_version_of_both(tmp_path: Path) -> None:
    done = run(CCPROXY, "--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"ccproxy {__version__}\nclaude 2.")


def test_twistd_lists_the_plugin(tmp_path: Path) -> None:
    done = run(TWISTD, "--help", cwd=tmp_path)
    assert re.search(r"^ +ccproxy +An OpenAI-compatible API", done.stdout, re.MULTILINE)


WRONG = [
    pytest.param([], {}, "--api-key: no key is set", id="no key"),
    pytest.param(["--port", "x"], {}, "--port: 'x'", id="flag"),
    pytest.param([], {"PORT": "70000"}, "PORT: '70000'", id="variable"),
    pytest.param(["--nonsense"], {}, "option --nonsense not recognized", id="unknown"),
    pytest.param(["--max-bdy=1"], {}, "did you mean --max-body? See", id="misspelled"),
    pytest.param(["--port"], {}, "option --port requires argument", id="no value"),
    pytest.param(["extra"], {}, "unexpected argument 'extra'", id="argument"),
    pytest.param(
        *(["--demo", "doctor"], {}, "'doctor' must come before the options"),
        id="late command",
    ),
    pytest.param(
        ["--listen", "nope:1"], {"PROXY_API_KEY": "k"}, "--listen", id="listen"
    ),
    pytest.param(
        *(["--host=0.0.0.0"], {"PROXY_API_KEY": "k"}, "--api-key: other machines"),
        id="short key",
    ),
    pytest.param(
        [], {"PROXY_API_KEY": "k", "CLAUDE_BIN": "/nope"}, "--claude-bin", id="no CLI"
    ),
]


def is_one_line(done: subprocess.CompletedProcess[str], words: str) -> None:
    """Assert that a command says that a setting is wrong, and no more."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ccproxy: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


@pytest.mark.parametrize("way", [("ccproxy",), ("twistd", "-n", "ccproxy")], ids=len)
@pytest.mark.parametrize(("flags", "variables", "words"), WRONG)
def test_wrong_setting_is_one_line(
    call: Call,
    flags: list[str],
    variables: dict[str, str],
    words: str,
    way: tuple[str, ...],
) -> None:
    is_one_line(call(*way, *flags, **variables), words)


@pytest.mark.parametrize("way", [(CCPROXY,), (TWISTD, "-n", "ccproxy")], ids=len)
def test_process_with_a_wrong_setting_ends_with_one_line(
    tmp_path: Path, way: tuple[str, ...]
) -> None:
    env = environment(tmp_path, PROXY_API_KEY="k")
    done = run(*way, "--listen", "nope:1", cwd=tmp_path, env=env)
    is_one_line(done, "--listen")


def test_cli_that_is_too_old_is_refused(call: Call, fake: Fake) -> None:
    done = call("ccproxy", PROXY_API_KEY="k", CLAUDE_BIN=str(fake("old").binary))
    assert done.returncode == 1
    assert "version 2.1.100; ccproxy needs 2.1.251" in done.stderr
    assert "claude update" in done.stderr


@ensureDeferred
async def test_foreground_server_with_a_key_file(
    tmp_path: Path, start: Callable[..., Running], claude_bin: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("first\nsecond\n")
    command = (TWISTD, "-n", "ccproxy", "-p", "0", "--api-key-file", str(keys))
    server = start(*command, CLAUDE_BIN=claude_bin)
    url = await server.url()
    assert b"\r\n\r\nok" in await get(url, "/health")
    assert b" 200 OK" in await get(url, "/models", authorization="Bearer second")
    assert b" 401 " in await get(url, "/models", authorization="Bearer third")
    await server.stop()
    assert "second" not in server.output


@ensureDeferred
async def test_demo_streams_without_an_account(
    tmp_path: Path, start: Callable[..., Running]
) -> None:
    server = start(CCPROXY, "--demo", "-p", "0", "--log-format", "json")
    await until(lambda: "listens on" in server.output)
    line = next(
        json.loads(text) for text in server.output.splitlines() if "listens on" in text
    )
    url = line["places"].removesuffix("/v1")
    client = await connect(reactor, int(url.rpartition(":")[2]))
    body = json.dumps(chat_body("What is this?", stream=True)).encode()
    client.send(
        request("POST", "/v1/chat/completions", body, authorization="Bearer demo")
    )
    await client.expect(b"data: [DONE]")
    assert b'" demo:"' in client.received
    assert client.received.count(b'"delta":{"content"') > 40
    client.abort()
    await server.stop()
    assert "DEMO" in server.output
    assert "What is this" not in server.output
    # The user's home is not the demo's.
    assert not (tmp_path / ".claude.json").exists()
    assert not list(tmp_path.glob("ccproxy-*"))


@ensureDeferred
async def test_busy_port_ends_the_start_with_one_line(
    start: Callable[..., Running],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(CCPROXY, "--demo", "-p", str(port))
        await until(lambda: server.is_over)
    assert server.status == 1
    assert f"cannot listen on tcp:{port}" in server.output
    assert "Traceback" not in server.output


@ensureDeferred
async def test_unix_socket_and_tls(
    tmp_path: Path, start: Callable[..., Running], claude_bin: str
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    command += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    assert run(*command, cwd=tmp_path).returncode == 0
    tls = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
    path = tmp_path / "socket"
    server = start(
        *(CCPROXY, "--demo", "--listen", f"unix:{path}", "--listen", tls),
        CLAUDE_BIN=claude_bin,
    )
    await until(lambda: "listens on" in server.output or server.is_over)
    url = re.search(r"https://127\.0\.0\.1:\d+", server.output)
    assert url
    done = run("curl", "-sk", f"{url[0]}/health", cwd=tmp_path)
    assert done.stdout == "ok"
    client: RawClient = await connectProtocol(
        UNIXClientEndpoint(reactor, str(path)), RawClient()
    )
    client.send(request("GET", "/health"))
    await client.expect(b"\r\n\r\nok")
    client.abort()
    assert f"--unix-socket {path} http://localhost/v1" in server.output


@ensureDeferred
async def test_daemon_has_twistds_own_files(tmp_path: Path, claude_bin: str) -> None:
    env = environment(tmp_path, PROXY_API_KEY="secret-key", CLAUDE_BIN=claude_bin)
    done = run(TWISTD, "ccproxy", "-p", "0", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    pidfile, log = tmp_path / "twistd.pid", tmp_path / "twistd.log"
    await until(lambda: log.exists() and "listens on" in log.read_text())
    pid = int(pidfile.read_text())
    try:
        match = re.search(r"listens on (\S+)/v1;", log.read_text())
        assert match
        assert b"\r\n\r\nok" in await get(match[1], "/health")
        assert "secret-key" not in log.read_text()
        # Its log rotates.
        os.kill(pid, signal.SIGUSR1)
        await until(lambda: (tmp_path / "twistd.log.1").exists())
    finally:
        os.kill(pid, signal.SIGTERM)
    await until(lambda: not pidfile.exists())
    await until(lambda: not Path(f"/proc/{pid}").exists())
    assert "secret-key" not in log.read_text()


@ensureDeferred
async def test_no_cli_survives_a_killed_server(
    upstream: Upstream, start: Callable[..., Running]
) -> None:
    held: Deferred[None] = Deferred()
    upstream.script(answer("one two three", hold_after=2, held=held))
    server = start(
        CCPROXY,
        *("-p", "0", "--log-level", "debug"),
        PROXY_API_KEY="k",
        ANTHROPIC_BASE_URL=upstream.url,
        ANTHROPIC_API_KEY="dummy",
    )
    url = await server.url()
    await until(lambda: "claude CLI" in server.output)
    client = await connect(reactor, int(url.rpartition(":")[2]))
    body = json.dumps(chat_body("hello", stream=True)).encode()
    client.send(request("POST", "/chat/completions", body, authorization="Bearer k"))
    await client.expect(b'" two"')
    # One that answers, and one that waits for questions.
    await until(lambda: len(children_of(server.transport.pid)) > 1)
    pids = children_of(server.transport.pid)
    server.signal("KILL")
    await until(lambda: server.is_over)
    # In mid-answer the end of its stdin alone would not end it.
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    await until(lambda: upstream.api.gone == 1)
    held.callback(None)
    await client.lost()


def test_busy_port_is_told_by_a_daemon_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = environment(tmp_path, PROXY_API_KEY="k")
        done = run(TWISTD, "ccproxy", "-p", str(port), cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert f"cannot listen on tcp:{port}" in done.stdout + done.stderr
    assert f"cannot listen on tcp:{port}" in (tmp_path / "twistd.log").read_text()
