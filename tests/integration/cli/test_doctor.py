"""The doctor's checks in this process: each fault alone."""

import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

from ccproxy.cli.doctor.checks import examine
from ccproxy.cli.doctor.results import CheckResult
from ccproxy.config.flags import SettingsOptions
from ccproxy.config.reading import read_settings
from ccproxy.store.engine import Connections, open_engines, sqlite_url
from ccproxy.store.schema import REVISION
from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.support.npm_stub import NPM_STUB
from tests.support.schema import note_schema
from tests.support.server import RunningProxy

_REACTOR: Any = reactor
KEY = "a-secret-key"


class Told:
    """What it said: how good each thing is, and all words."""

    def __init__(self, verdicts: list[CheckResult]) -> None:
        self.verdicts = {verdict.name: verdict.status.value for verdict in verdicts}
        self._lines = {v.name: v.line(colour=False) for v in verdicts}
        self.text = "\n".join(self._lines.values())

    def line(self, name: str) -> str:
        return self._lines[name]

    @property
    def wrong(self) -> set[str]:
        return {name for name, level in self.verdicts.items() if level == "wrong"}


@pytest.fixture
def doctor(
    tmp_path: Path,
    fake: Callable[[str], FakeClaude],
    monkeypatch: pytest.MonkeyPatch,
    expected_errors: ExpectedErrors,
) -> Callable[..., Any]:
    """Runs it in front of a CLI that plays a scenario."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    expected_errors.allow("the claude CLI ended unexpectedly")

    async def run(
        *flags: str,
        scenario: str = "answer",
        asks: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Told:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PROXY_API_KEY": KEY,
            "PORT": "0",
            # What is scripted cannot be seen to merge.
            "CCPROXY_COMPOSE": "body",
            "CLAUDE_BIN": str(fake(scenario).binary),
            **(variables or {}),
        }
        options = SettingsOptions()
        options.parseOptions(flags)
        settings = read_settings(options.given, environment, needs_key=False)
        verdicts: list[CheckResult] = []
        before = set(temporary.iterdir())
        await examine(_REACTOR, settings, environment, verdicts.append, asks=asks)
        told = Told(verdicts)
        assert KEY not in told.text
        assert set(temporary.iterdir()) == before
        return told

    return run


@pytest.mark.parametrize(
    ("scenario", "flags", "name", "words"),
    [
        ("old", [], "claude", "version 2.1.100; ccproxy needs 2.1.251"),
        ("logged-out", [], "login", "run `claude-logged-out setup-token` on"),
        (
            "mute",
            ["--first-token-timeout", "0.2"],
            "session",
            "did not answer within 0.2 s",
        ),
        ("refuses", [], "session", "refused a control request: no such thing"),
        ("turned-old", [], "session", "version 2.1.100; ccproxy needs 2.1.251"),
        ("dies", [], "answer", "the claude CLI ended unexpectedly"),
        # The limit is also that of the session's start, which takes its time.
        ("silent", ["--first-token-timeout", "3"], "answer", "3 s"),
    ],
)
@ensureDeferred
async def test_one_thing_is_wrong_with_the_cli(
    doctor: Callable[..., Any],
    scenario: str,
    flags: list[str],
    name: str,
    words: str,
) -> None:
    told = await doctor(*flags, scenario=scenario, asks=name == "answer")
    assert told.wrong == {name}, told.text
    assert words in told.line(name)


@ensureDeferred
async def test_the_stub_of_npms_package_is_named(
    doctor: Callable[..., Any], tmp_path: Path
) -> None:
    stub = tmp_path / "claude.exe"
    stub.write_text(NPM_STUB)
    stub.chmod(0o755)
    told = await doctor("--claude-bin", str(stub))
    assert told.wrong == {"claude"}, told.text
    assert "without --ignore-scripts" in told.line("claude")


@ensureDeferred
async def test_a_question_is_put_only_if_it_is_asked_for(
    doctor: Callable[..., Any], fake: Callable[[str], FakeClaude]
) -> None:
    told = await doctor()
    assert told.wrong == set()
    assert "by --claude-bin" in told.line("claude")
    assert "does not report its login" in told.line("login")
    assert {line["type"] for line in fake("answer").sent} == {"control_request"}
    told = await doctor(asks=True)
    assert "fake-1 answered 'fake answer': first token after" in told.line("answer")


@pytest.mark.parametrize(
    ("flags", "level", "words"),
    [
        ([], "ok", "body mode: ccproxy composes each request"),
        (["--compose", "native"], "ok", "the operator has chosen it"),
        (["--agent-tools", "Read"], "ok", "need its own loop"),
        (["--compose", "auto"], "note", "2 questions became 0 requests"),
        (["--compose", "auto", "--agent-tools", "Read"], "ok", "need its own loop"),
    ],
)
@ensureDeferred
async def test_how_questions_will_be_asked(
    doctor: Callable[..., Any], flags: list[str], level: str, words: str
) -> None:
    told = await doctor(*flags)
    assert told.verdicts["composer"] == level
    assert words in told.line("composer")


@ensureDeferred
async def test_a_key_helper_has_everything_asked_natively(
    doctor: Callable[..., Any], merging: Callable[[str], Path]
) -> None:
    variables = {"CLAUDE_BIN": str(merging("helper"))}
    told = await doctor("--compose", "auto", variables=variables)
    assert told.verdicts["composer"] == "note"
    assert "native mode, one process per request: the login's apiKeyHelper" in told.text


@ensureDeferred
async def test_what_depends_on_a_missing_cli_is_skipped(
    doctor: Callable[..., Any],
) -> None:
    told = await doctor("--claude-bin", "/nope", asks=True)
    assert told.wrong == {"claude"}
    skipped = [name for name, level in told.verdicts.items() if level == "skipped"]
    assert skipped == ["session", "login", "model", "composer", "answer"]


@ensureDeferred
async def test_model_that_the_cli_does_not_name(doctor: Callable[..., Any]) -> None:
    told = await doctor("--model", "gpt-4o")
    assert told.verdicts["model"] == "note"
    assert "gpt-4o is not a model that the claude CLI lists" in told.line("model")


@ensureDeferred
async def test_no_key_is_a_finding(doctor: Callable[..., Any]) -> None:
    told = await doctor(variables={"PROXY_API_KEY": ""})
    assert told.wrong == {"key"}
    assert "PROXY_API_KEY" in told.line("key")
    # All the rest has been looked at.
    assert told.verdicts["session"] == "ok"


class _Rude(Protocol):
    """Some other program, which speaks no HTTP."""

    @override
    def connectionMade(self) -> None:
        connection: Any = self.transport
        connection.loseConnection()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@ensureDeferred
async def test_port_of_another_program(
    doctor: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    factory = Factory.forProtocol(_Rude)
    if kind == "tcp":
        port = _REACTOR.listenTCP(0, factory, interface="127.0.0.1")
        endpoint = f"tcp:{port.getHost().port}:interface=127.0.0.1"
    else:
        port = _REACTOR.listenUNIX(str(tmp_path / "socket"), factory, wantPID=True)
        endpoint = f"unix:{tmp_path / 'socket'}"
    told = await doctor("--listen", endpoint, "--claude-bin", "/nope")
    assert told.verdicts["port"] == "wrong"
    assert f"cannot listen on {endpoint}" in told.line("port")
    assert "stop that program, or choose another port with --port" in told.line("port")
    await maybeDeferred(port.stopListening)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@ensureDeferred
async def test_port_where_a_ccproxy_answers(
    doctor: Callable[..., Any],
    proxy: Callable[..., RunningProxy],
    fake: Callable[[str], FakeClaude],
    tmp_path: Path,
    kind: str,
) -> None:
    endpoint = f"unix:{tmp_path / 'socket'}"
    listen = "tcp:0:interface=127.0.0.1" if kind == "tcp" else endpoint
    running = proxy(claude_bin=fake("answer").binary, listen=(listen,))
    if kind == "tcp":
        endpoint = f"tcp:{running.number}:interface=127.0.0.1"
    told = await doctor("--listen", endpoint, "--claude-bin", "/nope")
    assert f"a ccproxy already answers on {endpoint}" in told.line("port")
    assert told.verdicts["port"] == "ok"


@pytest.mark.parametrize(
    ("endpoint", "level", "words"),
    [
        ("tcp:0:interface=127.0.0.1", "ok", "any free port"),
        ("systemd:domain=INET:index=0", "skipped", "comes from systemd"),
        ("tcp:8080:interface=192.0.2.1", "wrong", "no such address; see --host"),
        ("unix:/nope/socket", "wrong", "cannot listen on unix:/nope/socket"),
    ],
)
@ensureDeferred
async def test_endpoints(
    doctor: Callable[..., Any], endpoint: str, level: str, words: str
) -> None:
    told = await doctor("--listen", endpoint, "--claude-bin", "/nope")
    assert told.verdicts["port"] == level
    assert words in told.line("port")


@ensureDeferred
async def test_free_port_is_free_again(doctor: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        number = found.getsockname()[1]
    for _ in range(2):
        told = await doctor("-p", str(number), "--claude-bin", "/nope")
        assert f"free: http://127.0.0.1:{number}/v1" in told.line("port")


@ensureDeferred
async def test_state_directory(doctor: Callable[..., Any], tmp_path: Path) -> None:
    state = tmp_path / "state"
    flags = ("--state-dir", str(state), "--claude-bin", "/nope")
    told = await doctor(*flags)
    assert "the first start will create" in told.line("state")
    state.mkdir(mode=0o700)
    told = await doctor(*flags)
    assert "is writable, and closed to other users" in told.line("state")
    state.chmod(0o755)
    told = await doctor(*flags)
    assert told.verdicts["state"] == "note"
    assert f"chmod 700 {state}" in told.line("state")
    assert list(state.iterdir()) == []
    # The server would not use it, so that is not all well.
    state.chmod(0o777)
    told = await doctor(*flags)
    assert (told.verdicts["state"], told.verdicts["database"]) == ("wrong", "skipped")
    assert "other users can write to" in told.line("state")
    state.rmdir()
    state.touch()
    told = await doctor(*flags)
    assert (told.verdicts["state"], told.verdicts["database"]) == ("wrong", "skipped")
    deeper = ("--state-dir", str(state / "deep" / "er"), "--claude-bin", "/nope")
    told = await doctor(*deeper)
    assert f"cannot be created: {state} is not writable" in told.line("state")


@ensureDeferred
async def test_database(doctor: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    flags = ("--state-dir", str(tmp_path), "--claude-bin", "/nope")
    told = await doctor(*flags)
    assert "the first start will create" in told.line("database")
    open_engines(sqlite_url(path), "owner", Connections()).close()
    told = await doctor(*flags)
    assert f"is writable and up to date ({REVISION})" in told.line("database")
    note_schema(sqlite_url(path), "9999")
    told = await doctor(*flags)
    assert "written by a newer ccproxy; update this ccproxy" in told.line("database")
    path.write_text("certainly no database, and longer than its header" * 9)
    told = await doctor(*flags)
    assert told.verdicts["database"] == "wrong"
    assert "file is not a database; move it away" in told.line("database")


@ensureDeferred
async def test_database_that_is_elsewhere(doctor: Callable[..., Any]) -> None:
    url = "postgresql://me:hidden@127.0.0.1:1/none"
    told = await doctor("--database-url", url, "--claude-bin", "/nope")
    assert told.verdicts["state"] == "skipped"
    assert told.verdicts["database"] == "wrong"
    assert "hidden" not in told.text
    assert "see --database-url" in told.line("database")


@ensureDeferred
async def test_demo_keeps_nothing(doctor: Callable[..., Any]) -> None:
    told = await doctor("--demo", asks=True)
    assert "deleted when the server stops" in told.line("state")
    assert "every start creates a new database" in told.line("database")
