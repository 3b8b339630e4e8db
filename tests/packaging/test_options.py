"""The command line in this process: options, the log, the service for twistd."""

import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application, IService
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from typing_extensions import override

from ccproxy.cli.main import Options, main, makeService
from ccproxy.server.service import CannotListen
from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.integration.claude.conftest import fake as fake  # a fixture


@pytest.fixture
def parse(
    fake: Callable[[str], FakeClaude],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Options]]:
    files: list[LogFile] = []

    class Kept(LogFile):
        """Closed at the end; twistd's own lives as long as its process."""

        @override
        def _openFile(self) -> None:
            super()._openFile()
            files.append(self)

    monkeypatch.setattr("ccproxy.cli.main.LogFile", Kept)
    monkeypatch.setenv("CLAUDE_BIN", str(fake("answer").binary))
    monkeypatch.setenv("PROXY_API_KEY", "from-the-environment")

    def run(*arguments: str, twistd: dict[str, object] | None = None) -> Options:
        options = Options()
        parent: Any = twistd
        options.parent = parent
        options.parseOptions(list(arguments))
        return options

    yield run
    for file in files:
        file.close()


def test_flags_win_and_repeat(parse: Callable[..., Options]) -> None:
    options = parse(
        *("-p", "1", "--port=2", "-m", "opus", "--demo"),
        *("--model-map", "a=haiku", "--model-map", "b=opus"),
    )
    settings = options.settings
    assert settings.endpoints == ("tcp:2:interface=127.0.0.1",)
    assert (settings.model, settings.demo) == ("opus", True)
    assert settings.model_map == (("a", "haiku"), ("b", "opus"))
    assert settings.api_keys == ("from-the-environment",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nope"], "option --nope not recognized"),
        (["word"], "unexpected argument 'word'; see `ccproxy --help`"),
        (["--port", "x"], "--port: 'x'"),
        (["--claude-bin", "/nope"], "--claude-bin"),
    ],
)
def test_wrong_ones_end_it_with_one_line(
    parse: Callable[..., Options],
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("ccproxy: ")
    assert words in told.err


def test_version(
    parse: Callable[..., Options], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse("--version")
    assert "claude 2.1.330" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parse("--claude-bin", "/nope", "--version")
    assert "claude: --claude-bin" in capsys.readouterr().out


def test_endpoint_that_twisted_does_not_know(
    parse: Callable[..., Options], capsys: pytest.CaptureFixture[str]
) -> None:
    options = parse("--listen", "nonsense:1")
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    assert caught.value.code == 2
    assert "--listen: 'nonsense:1' is not an endpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "where", [("--host", "0.0.0.0"), ("--host", "::"), ("--listen", "tcp:0")]
)
def test_short_key_where_others_can_reach_it(
    parse: Callable[..., Options],
    where: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = parse(*where, "--api-key", "k" * 15)
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("ccproxy: --api-key: other machines can reach")
    makeService(parse(*where, "--api-key", "k" * 16))


def observer_of(options: Options) -> ILogObserver:
    """What twistd would log by."""
    application: Any = Application("test")
    service = makeService(options)
    service.setServiceParent(application)
    observer: ILogObserver = application.getComponent(ILogObserver)
    assert isinstance(application, Componentized)
    assert IService.providedBy(service)
    return observer


def log_through(observer: ILogObserver) -> None:
    log = Logger(observer=LogPublisher(observer), namespace="test")
    log.emit(LogLevel.debug, "quiet {word}", word="one")
    log.emit(LogLevel.info, "loud {word}", word="two")


def test_log_goes_where_twistd_would_write(
    parse: Callable[..., Options], tmp_path: Path
) -> None:
    path = tmp_path / "server.log"
    options = parse("--log-format", "json", twistd={"logfile": str(path)})
    log_through(observer_of(options))
    [record] = map(json.loads, path.read_text().splitlines())
    assert (record["level"], record["message"]) == ("info", "loud two")
    assert (record["where"], record["word"]) == ("test", "two")


def test_log_of_the_foreground_goes_to_the_terminal(
    parse: Callable[..., Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    options = parse("--log-level", "debug", twistd={"nodaemon": True})
    log_through(observer_of(options))
    assert "quiet one" in terminal.getvalue()
    assert "loud two" in terminal.getvalue()


def test_log_of_a_daemon_has_twistds_name(
    parse: Callable[..., Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log_through(observer_of(parse(twistd={"nodaemon": False})))
    assert "loud two" in (tmp_path / "twistd.log").read_text()


def test_syslog_stays_twistds(parse: Callable[..., Options]) -> None:
    application: Any = Application("test")
    makeService(parse(twistd={"syslog": True})).setServiceParent(application)
    assert application.getComponent(ILogObserver) is None


@pytest.mark.parametrize(
    ("twistd", "kind"), [({"nodaemon": True}, SystemExit), ({}, CannotListen)]
)
def test_port_that_is_taken(
    parse: Callable[..., Options],
    expected_errors: ExpectedErrors,
    twistd: dict[str, object],
    kind: type[BaseException],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A daemon's parent is told only by an exception that is no exit."""
    expected_errors.allow("cannot listen on")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = parse("-p", str(taken.getsockname()[1]), twistd=twistd)
        with pytest.raises(kind) as caught:
            makeService(options).privilegedStartService()
    told = (
        f"ccproxy: {caught.value}" if kind is CannotListen else capsys.readouterr().err
    )
    assert told.startswith("ccproxy: cannot listen on tcp:")
    assert kind is CannotListen or caught.value.args == (1,)


def test_command_is_twistd_in_the_foreground(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("sys.argv", ["ccproxy", "--demo"])
    monkeypatch.setattr(
        "ccproxy.cli.main.run", lambda: seen.append(__import__("sys").argv)
    )
    main()
    assert seen == [["twistd", "-n", "--pidfile=", "ccproxy", "--demo"]]
