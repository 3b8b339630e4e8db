"""The doctor's command line in this process: what it prints, and its exit status."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.cli.doctor.command import run_doctor
from tests.integration.claude.conftest import FakeClaude
from tests.support.waiting import until

_REACTOR: Any = reactor


@define(eq=False)
class _Reactor:
    """The tests' own, but for what it is to do when it stops."""

    stopping: list[Callable[[], Any]] = field(factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(_REACTOR, name)

    def addSystemEventTrigger(
        self, phase: str, event: str, call: Callable[[], Any]
    ) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.stopping.append(call)


@pytest.fixture
def doctor(
    tmp_path: Path, fake: Callable[[str], FakeClaude], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Starts it; the outcome is an exit."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PROXY_API_KEY", "k")
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("CCPROXY_COMPOSE", "body")

    def start(*arguments: str, scenario: str = "answer") -> tuple[_Reactor, Any]:
        monkeypatch.setenv("CLAUDE_BIN", str(fake(scenario).binary))
        its, begun = _Reactor(), []
        monkeypatch.setattr(
            "ccproxy.cli.interruption.react",
            lambda main, values: begun.append(
                Deferred.fromCoroutine(main(its, *values))
            ),
        )
        run_doctor(arguments)
        return its, begun[0]

    return start


async def status(outcome: "Deferred[Any]") -> Any:
    with pytest.raises(SystemExit) as caught:
        await outcome
    return caught.value.code


@ensureDeferred
async def test_all_is_well(
    doctor: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    its, outcome = doctor()
    assert await status(outcome) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [
        *("key", "claude", "state", "database", "port", "session", "login", "model"),
        "composer",
    ]
    # When it is over there is nothing to be taken away.
    assert its.stopping[0]() is None


@ensureDeferred
async def test_json(
    doctor: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, outcome = doctor("--json", "--ask", scenario="answer")
    assert await status(outcome) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["checks"][-1]["name"] == "answer"
    _, outcome = doctor("--json", scenario="old")
    assert await status(outcome) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nope"], "option --nope not recognized; see `ccproxy doctor --help`"),
        (["word"], "unexpected argument 'word'"),
        (["--port", "x"], "--port: 'x'"),
    ],
)
def test_wrong_use(
    doctor: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        doctor(*arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@ensureDeferred
async def test_endpoint_that_twisted_does_not_know(
    doctor: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, outcome = doctor("--listen", "nope:1")
    assert await status(outcome) == 2
    assert "'nope:1' is not an endpoint" in capsys.readouterr().err


@ensureDeferred
async def test_interrupted_while_the_cli_is_silent(
    doctor: Callable[..., Any], fake: Callable[[str], FakeClaude]
) -> None:
    claude = fake("mute")
    its, outcome = doctor(scenario="mute")
    await until(claude.log.read_bytes)
    gone = its.stopping[0]()
    assert await status(outcome) == 130
    # The reactor goes on to stop only now.
    await gone
