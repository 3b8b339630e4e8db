"""The results of a broken CLI for clients of the native way, streamed and not.

Each request ends in a whole answer or an error that says what is wrong, the next
one works, and nothing is left running (the autouse fixture looks).
"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.claude.process import process
from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.support.children import processes_of
from tests.support.invariant import End, keeps_the_invariant
from tests.support.server import RunningProxy, events
from tests.support.spec import error_errors
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Fake = Callable[[str], FakeClaude]


@pytest.fixture
def proxy(proxy: Start) -> Start:
    """Starts servers that ask the native way."""

    def start(**options: Any) -> RunningProxy:
        return proxy(**{"compose": "native", **options})

    return start


# Scenario; status when nothing was sent yet, code, words of the message.
FAULTS = [
    ("garbage", 502, "claude_failed", "not JSON: 'this is not JSON'"),
    ("array", 502, "claude_failed", "unknown shape"),
    ("utf8", 502, "claude_failed", "not UTF-8"),
    ("shape", 502, "claude_failed", "unknown shape"),
    ("long", 502, "claude_failed", "more than 16777216 bytes"),
    ("dies", 502, "claude_failed", "exit status 3; its last words: my last words"),
    ("half", 502, "claude_failed", "in the middle of a line"),
]


@pytest.mark.parametrize(("scenario", "status", "code", "words"), FAULTS)
@ensureDeferred
async def test_fault_in_mid_answer(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    scenario: str,
    status: int,
    code: str,
    words: str,
) -> None:
    expected_errors.allow("ended unexpectedly")
    server = proxy(claude_bin=fake(scenario).binary)
    response = await server.chat("hello")
    document = await response.json()
    assert response.code == status
    assert error_errors(document) == []
    assert document["error"]["code"] == code
    assert words in document["error"]["message"]

    streamed = await server.chat("hello", stream=True)
    text = await streamed.text()
    # What the CLI writes at once arrives in one read or in two, and with it the
    # fault before or after the stream has begun.
    assert streamed.code in (200, status)
    last = events(text)[-1] if streamed.code == 200 else text
    assert json.loads(last)["error"]["code"] == code
    assert words in json.loads(last)["error"]["message"]


EARLY_FAULTS = [
    ("exits", {}, 502, "claude_failed", "ended unexpectedly (exit status 0)"),
    ("refuses", {}, 502, "claude_failed", "refused a control request: no such thing"),
    ("turned-old", {}, 503, "claude_unavailable", "version 2.1.100"),
    ("silent", {"first_token_timeout": 0.2}, 504, "timeout", "no token within 0.2 s"),
    ("mute", {"first_token_timeout": 0.2}, 504, "timeout", "no token within 0.2 s"),
    ("silent", {"turn_timeout": 0.2}, 504, "timeout", "more than 0.2 s"),
    ("waits-long", {}, 429, "rate_limit_exceeded", "refused the request (429)"),
    ("waits", {"first_token_timeout": 1.0}, 503, "overloaded", "(529)"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("scenario", "options", "status", "code", "words"), EARLY_FAULTS
)
@ensureDeferred
async def test_fault_before_the_answer_is_told_by_the_status(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    scenario: str,
    options: dict[str, Any],
    status: int,
    code: str,
    words: str,
    stream: bool,
) -> None:
    expected_errors.allow("ended unexpectedly")
    expected_errors.allow("cannot be used now")
    expected_errors.allow("could not be examined")
    server = proxy(claude_bin=fake(scenario).binary, **options)
    response = await server.chat("hello", stream=stream)
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (status, code)
    assert words in document["error"]["message"]
    retry_after = response.headers.getRawHeaders("retry-after")
    if scenario == "waits-long":
        assert retry_after == ["500"]
    should_retry = response.headers.getRawHeaders("x-should-retry")
    assert should_retry == (["false"] if code == "claude_unavailable" else None)


@ensureDeferred
async def test_a_cli_that_turned_old_is_given_nothing(proxy: Start, fake: Fake) -> None:
    """It was another one when it was examined, and does not tell its version."""
    claude = fake("turned-ancient")
    server = proxy(claude_bin=claude.binary)
    system = {"role": "system", "content": "a secret"}
    response = await server.chat(system, "another secret")
    error = (await response.json())["error"]
    assert (response.code, error["code"]) == (503, "claude_unavailable")
    assert "needs 2.1.251" in error["message"]
    assert b"secret" not in claude.log.read_bytes()


@ensureDeferred
async def test_silence_in_mid_answer(proxy: Start, fake: Fake) -> None:
    server = proxy(claude_bin=fake("falls-silent").binary, silence_timeout=0.2)
    response = await server.chat("hello", stream=True)
    *_, last = events(await response.text())
    assert json.loads(last)["error"]["code"] == "timeout"
    assert "--silence-timeout" in json.loads(last)["error"]["message"]


@ensureDeferred
async def test_missing_cli(
    proxy: Start, tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("cannot be used now")
    server = proxy(claude_bin=tmp_path / "nowhere")
    response = await server.chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (503, "claude_unavailable")
    assert "--claude-bin" in document["error"]["message"]
    assert response.headers.getRawHeaders("x-should-retry") == ["false"]
    models = await (await server.get("/v1/models")).json()
    assert {"haiku", "sonnet", "opus"} <= {model["id"] for model in models["data"]}


@ensureDeferred
async def test_cli_that_appears_later_is_found(
    proxy: Start, fake: Fake, tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("cannot be used now")
    server = proxy(claude_bin=tmp_path / "claude-answer")
    assert (await server.chat("hello")).code == 503
    fake("answer")
    response = await server.chat("hello")
    assert (await response.json())["choices"][0]["message"]["content"] == "fake answer"


@ensureDeferred
async def test_cli_that_is_removed_is_told(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors
) -> None:
    claude = fake("answer")
    server = proxy(claude_bin=claude.binary)
    assert (await server.chat("hello")).code == 200
    claude.binary.unlink()
    response = await server.chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (503, "claude_unavailable")


@ensureDeferred
async def test_messages_of_the_future_are_ignored(proxy: Start, fake: Fake) -> None:
    response = await proxy(claude_bin=fake("future").binary).chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "known"


@ensureDeferred
async def test_question_of_the_cli_is_answered_by_a_refusal(
    proxy: Start, fake: Fake
) -> None:
    response = await proxy(claude_bin=fake("asks").binary).chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "q1 error"


@ensureDeferred
async def test_noise_on_stderr_is_no_failure(proxy: Start, fake: Fake) -> None:
    response = await proxy(claude_bin=fake("noisy").binary).chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "fake answer"


@ensureDeferred
async def test_stubborn_cli_is_killed(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    expected_errors.allow("ignores SIGTERM")
    server = proxy(claude_bin=fake("stubborn").binary, silence_timeout=0.2)
    response = await server.chat("hello", stream=True)
    *_, last = events(await response.text())
    assert json.loads(last)["error"]["code"] == "timeout"
    await server.stop()


@ensureDeferred
async def test_stopped_cli_is_killed(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    expected_errors.allow("ignores SIGTERM")
    claude = fake("falls-silent")
    server = proxy(claude_bin=claude.binary, silence_timeout=0.3)
    response = await server.chat("hello", stream=True)
    received: list[bytes] = []
    done = response.collect(received.append)
    await until(lambda: b"half" in b"".join(received))
    for pid in processes_of(claude.log):
        os.kill(pid, signal.SIGSTOP)
    await done
    assert "timeout" in b"".join(received).decode()


@ensureDeferred
async def test_children_of_the_cli_die_with_the_request(
    proxy: Start, fake: Fake
) -> None:
    claude = fake("children")
    server = proxy(claude_bin=claude.binary, silence_timeout=0.3, agent_tools=("Bash",))
    before = _sleepers()
    response = await server.chat("hello", stream=True)
    text = await response.text()
    assert "children" in text
    await server.stop()
    await until(lambda: _sleepers() == before)


def _sleepers() -> set[int]:
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _command(entry) == b"sleep\x001000\0"
    }


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


@ensureDeferred
async def test_what_the_cli_is_told(proxy: Start, fake: Fake) -> None:
    claude = fake("answer")
    server = proxy(claude_bin=claude.binary)
    assert (await server.get("/v1/models")).code == 200
    response = await server.chat(
        {"role": "system", "content": "Be brief."}, "hello", model="opus"
    )
    assert response.code == 200
    assert await response.json()
    initialize, flags, user = claude.sent[-3:]
    assert initialize["request"]["systemPrompt"] == ["Be brief."]
    assert flags["request"]["settings"] == {
        "model": "opus",
        "effortLevel": None,
        "env": {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": None, "CLAUDE_CODE_EXTRA_BODY": None},
    }
    assert user["client_composed"] is True
    assert user["message"]["content"] == [{"type": "text", "text": "hello"}]


@ensureDeferred
async def test_private_folder_that_was_cleaned_away_comes_back(
    proxy: Start, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    claude = fake("answer")
    server = proxy(claude_bin=claude.binary, state_dir=tmp_path / "state")
    assert (await server.chat("hello")).code == 200
    [folder] = tmp_path.glob("ccproxy-*")
    await until(lambda: not processes_of(claude.log))
    shutil.rmtree(folder)
    response = await server.chat("hello")
    assert (await response.json())["choices"][0]["message"]["content"] == "fake answer"
    await server.stop()
    assert not folder.exists()


# The invariant over every fault.

WHOLE = ("fake answer", "half answer", "known")

# Scenario; how a request ends; words of its error.
EVERY_FAULT: list[tuple[str, End, str]] = [
    ("killed", End.ERROR, "signal SIGKILL"),
    ("stopped", End.ERROR, "the answer stopped for 0.4 s"),
    ("exits", End.ERROR, "exit status 0"),
    ("exits-midway", End.ERROR, "exit status 0"),
    ("dies", End.ERROR, "my last words"),
    ("silent", End.ERROR, "no token within"),
    ("falls-silent", End.ERROR, "the answer stopped"),
    ("noisy", End.COMPLETE, ""),
    ("spews", End.COMPLETE, ""),
    ("very-long", End.ERROR, "more than 16777216 bytes"),
    ("garbage", End.ERROR, "not JSON"),
    ("array", End.ERROR, "unknown shape"),
    ("utf8", End.ERROR, "not UTF-8"),
    ("shape", End.ERROR, "unknown shape"),
    ("half", End.ERROR, "in the middle of a line"),
    ("future", End.COMPLETE, ""),
    ("starts-again", End.COMPLETE, ""),
    ("stammers", End.COMPLETE, ""),
    ("early-delta", End.ERROR, "an answer that has not begun"),
    ("two-results", End.COMPLETE, ""),
    ("late-messages", End.COMPLETE, ""),
    ("stray-responses", End.COMPLETE, ""),
    ("ignores-settings", End.COMPLETE, ""),
    ("other-tools", End.ERROR, "offers other tools"),
    ("waits-long", End.ERROR, "refused the request (429)"),
]

LIMITS: dict[str, dict[str, Any]] = {
    "silent": {"first_token_timeout": 0.4},
    "stopped": {"silence_timeout": 0.4},
    "falls-silent": {"silence_timeout": 0.4},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("scenario", "end", "words"), EVERY_FAULT)
@ensureDeferred
async def test_each_fault_has_one_end_and_the_next_request_works(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    end: End,
    words: str,
    stream: bool,
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    for allowed in ("ended unexpectedly", "ignores SIGTERM", "cannot be used now"):
        expected_errors.allow(allowed)
    options = LIMITS.get(scenario, {})
    server = proxy(claude_bin=fake(scenario).binary, **options)
    outcome = await keeps_the_invariant(server, "hello", WHOLE, stream=stream)
    assert outcome.end is end
    if outcome.error is not None:
        assert words in outcome.error["message"]


# Processes that are lost, and those that wait for the results of calls.


@ensureDeferred
async def test_process_that_dies_before_it_answers_is_replaced(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("ended unexpectedly")
    claude = fake("dies-once")
    server = proxy(claude_bin=claude.binary)
    response = await server.chat("hello")
    assert (await response.json())["choices"][0]["message"]["content"] == "fake answer"
    asked = [line for line in claude.sent if line["type"] == "user"]
    assert len(asked) == 2


TOOLS = [{"type": "function", "function": {"name": "look"}}]
USER = {"role": "user", "content": "hello"}


async def called(server: RunningProxy) -> list[Any]:
    """The history after a call, with its result."""
    document = await (await server.chat(USER, tools=TOOLS)).json()
    message = document["choices"][0]["message"]
    assert message["tool_calls"][0]["id"] == "toolu_1"
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "blue"}
    return [USER, message, result]


def starts(claude: FakeClaude) -> int:
    """How many processes were started, for whatever."""
    return sum("initialize" in str(line) for line in claude.sent)


@pytest.mark.parametrize("scenario", ["calls-dies", "calls-goes-on"])
@ensureDeferred
async def test_session_that_did_not_wait_is_given_up(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors, scenario: str
) -> None:
    """And the result is for a new one."""
    expected_errors.allow("ended unexpectedly")
    expected_errors.allow("did not wait for the results")
    claude = fake(scenario)
    server = proxy(claude_bin=claude.binary, agent_tools=("Read",))
    await server.ready()
    before = starts(claude)
    history = await called(server)
    await until(lambda: server.processes == 0)
    document = await (await server.chat(*history, tools=TOOLS)).json()
    assert document["choices"][0]["message"]["tool_calls"]
    assert starts(claude) == before + 2


@ensureDeferred
async def test_result_that_comes_before_it_is_asked_for(
    proxy: Start, fake: Fake
) -> None:
    """What the CLI still says of the call is no answer."""
    claude = fake("calls-late")
    server = proxy(claude_bin=claude.binary, agent_tools=("Read",))
    await server.ready()
    before = starts(claude)
    history = await called(server)
    assert server.backend.session_counts()["suspended"] == 1
    document = await (await server.chat(*history, tools=TOOLS)).json()
    [choice] = document["choices"]
    assert choice["message"]["content"] == (
        '3 {"content": [{"type": "text", "text": "blue"}], "isError": false}'
    )
    assert starts(claude) == before + 1


@ensureDeferred
async def test_process_waits_only_behind_calls_of_its_own(
    proxy: Start, fake: Fake
) -> None:
    """Without any, a new one is told the history."""
    claude = fake("calls-only")
    server = proxy(claude_bin=claude.binary)
    await server.ready()
    before = starts(claude)
    history = await called(server)
    await until(lambda: server.processes == 0)
    await server.chat(*history, tools=TOOLS)
    assert starts(claude) == before + 2


@ensureDeferred
async def test_stop_ends_a_session_that_waits(proxy: Start, fake: Fake) -> None:
    server = proxy(claude_bin=fake("calls").binary, agent_tools=("Read",))
    await called(server)
    assert server.backend.session_counts()["suspended"] == 1
    await server.stop()
    assert server.processes == 0
