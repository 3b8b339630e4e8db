"""The results of a broken CLI for clients, streamed and not, in both ways of asking.

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

from ccproxy.claude.installation import conformance
from ccproxy.claude.process import process
from ccproxy.claude.worker import commands, heartbeat
from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.support.children import processes_of
from tests.support.log_texts import (
    CLI_ENDED,
    CLI_UNUSABLE,
    FEWER_SPARES,
    IGNORES_SIGTERM,
    NOISE,
)
from tests.support.npm_stub import NPM_STUB
from tests.support.server import RunningProxy, events
from tests.support.spec import error_errors
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Fake = Callable[[str], FakeClaude]

# Scenario; status when nothing was sent yet, code, cause, words of the message.
FAULTS = [
    ("cut-record", 502, "claude_failed", "invalid_output", "not JSON: '{"),
    ("utf8", 502, "claude_failed", "invalid_output", "not UTF-8"),
    ("shape", 502, "claude_failed", "invalid_output", "unknown shape"),
    ("long", 502, "claude_failed", "invalid_output", "more than 16777216 bytes"),
    (
        *("dies", 502, "claude_failed", "process_ended"),
        "exit status 3; stderr ends with: my last words",
    ),
    ("half", 502, "claude_failed", "process_ended", "in the middle of a line"),
]


@pytest.mark.parametrize(("scenario", "status", "code", "cause", "words"), FAULTS)
@ensureDeferred
async def test_fault_in_mid_answer(
    each_way: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    request_lines: list[str],
    scenario: str,
    status: int,
    code: str,
    cause: str,
    words: str,
) -> None:
    expected_errors.allow(CLI_ENDED)
    server = each_way(claude_bin=fake(scenario).binary)
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

    assert len(request_lines) == 2
    assert all(f" {code} ({cause}) " in line for line in request_lines)
    assert not any(words in line for line in request_lines)


_SOON = {"first_token_timeout": 0.2}
# The scenario and its options; status, code and cause as the log has them; words of the
# message.
EARLY_FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    (
        *("exits", {}, "502 claude_failed (process_ended)"),
        "ended unexpectedly (exit status 0)",
    ),
    (
        *("refuses", {}, "502 claude_failed (command_refused)"),
        "refused a control request: no such thing",
    ),
    ("turned-old", {}, "503 claude_unavailable (cli_too_old)", "version 2.1.100"),
    ("silent", _SOON, "504 timeout (first_token_timeout)", "no token within 0.2 s"),
    ("mute", _SOON, "504 timeout (first_token_timeout)", "no token within 0.2 s"),
    ("silent", {"turn_timeout": 0.2}, "504 timeout (turn_timeout)", "more than 0.2 s"),
    (
        *("waits-long", {}, "429 rate_limit_exceeded (provider_limit)"),
        "refused the request (429)",
    ),
    (
        *("waits", {"first_token_timeout": 1.0}),
        *("503 overloaded (provider_overloaded)", "(529)"),
    ),
]


@pytest.mark.parametrize(("scenario", "options", "logged", "words"), EARLY_FAULTS)
@ensureDeferred
async def test_fault_before_the_answer_is_told_by_the_status(
    each_way: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    request_lines: list[str],
    scenario: str,
    options: dict[str, Any],
    logged: str,
    words: str,
) -> None:
    expected_errors.allow(CLI_ENDED)
    expected_errors.allow(CLI_UNUSABLE)
    expected_errors.allow("does not answer")
    expected_errors.allow("could not be examined")
    # After the second.
    expected_errors.allow("no claude CLI is started until")
    server = each_way(claude_bin=fake(scenario).binary, **options)
    for stream in (False, True):
        request_lines.clear()
        response = await server.chat("hello", stream=stream)
        document = await response.json()
        code = document["error"]["code"]
        assert f"{response.code} {code}" == logged.partition(" (")[0]
        assert words in document["error"]["message"]
        [line] = request_lines
        assert f" {logged} " in line
        retry_after = response.headers.getRawHeaders("retry-after")
        if scenario == "waits-long":
            assert retry_after == ["500"]
        should_retry = response.headers.getRawHeaders("x-should-retry")
        assert should_retry == (["false"] if code == "claude_unavailable" else None)


@ensureDeferred
async def test_silence_in_mid_answer(
    each_way: Start, fake: Fake, request_lines: list[str]
) -> None:
    server = each_way(claude_bin=fake("falls-silent").binary, silence_timeout=0.2)
    response = await server.chat("hello", stream=True)
    *_, last = events(await response.text())
    assert json.loads(last)["error"]["code"] == "timeout"
    assert "--silence-timeout" in json.loads(last)["error"]["message"]
    [line] = request_lines
    assert " 200 timeout (silence_timeout) " in line


@ensureDeferred
async def test_missing_cli(
    each_way: Start, tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(CLI_UNUSABLE)
    server = each_way(claude_bin=tmp_path / "nowhere")
    response = await server.chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (503, "claude_unavailable")
    assert "--claude-bin" in document["error"]["message"]
    assert response.headers.getRawHeaders("x-should-retry") == ["false"]
    models = await (await server.get("/v1/models")).json()
    assert {"haiku", "sonnet", "opus"} <= {model["id"] for model in models["data"]}


@ensureDeferred
async def test_cli_that_appears_later_is_found(
    each_way: Start, fake: Fake, tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(CLI_UNUSABLE)
    server = each_way(claude_bin=tmp_path / "claude-answer")
    assert (await server.chat("hello")).code == 503
    fake("answer")
    response = await server.chat("hello")
    assert (await response.json())["choices"][0]["message"]["content"] == "fake answer"


@ensureDeferred
async def test_cli_that_is_removed_is_told(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected_errors.allow("no new CLI process can be started")
    # Without this, requests wait, because an update may be under way.
    monkeypatch.setattr(conformance, "_UPDATE_SECONDS", 0.3)
    claude = fake("answer")
    server = proxy(claude_bin=claude.binary)
    assert (await server.chat("hello")).code == 200
    # One that still rewinds would not be waited for on a slow machine.
    await server.settled()
    claude.binary.unlink()
    # One that runs goes on.
    assert (await server.chat("hello")).code == 200
    await server.idle()
    response = await server.chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (503, "claude_unavailable")


EACH_KIND = ("new", "idle", "spare")
# Where a process fails, and how; which processes there are at that place.
FAILURES = {
    **{
        f"start {how}": ("new",) for how in ("exits", "killed", "garbage", "cut-record")
    },
    **{f"command {how}": EACH_KIND for how in ("silent", "killed")},
    **{
        f"question {how}": EACH_KIND
        for how in ("exits", "killed", "stopped", "garbage", "cut-record")
    },
}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(fault, kind) for fault, kinds in FAILURES.items() for kind in kinds],
)
@ensureDeferred
async def test_a_cli_that_fails_before_its_first_word_is_replaced(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    kind: str,
) -> None:
    for allowed in (CLI_ENDED, NOISE, FEWER_SPARES):
        expected_errors.allow(allowed)
    monkeypatch.setattr(commands, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(heartbeat, "_LOOK_SECONDS", 0.3)
    claude = fake("answer")
    server = proxy(claude_bin=claude.binary, spares=1 if kind == "spare" else 0)
    await server.ready()
    if kind == "new":
        await server.idle()
    elif kind == "idle":
        assert (await server.chat("hello")).code == 200
    await until(lambda: bool(server.workers) is (kind != "new"))
    await server.settled()

    armed = claude.log.with_name(f"{claude.log.name}.armed")
    armed.write_text(fault)
    response = await server.chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "fake answer"
    assert not armed.exists()


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        (NPM_STUB, "without --ignore-scripts"),
        ("#!/bin/sh\nexit 5\n", "exit status 5"),
        ("", "exit status"),
    ],
    ids=["npm", "exits", "empty"],
)
@ensureDeferred
async def test_a_binary_that_does_not_start_is_not_ready(
    each_way: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    instead: str,
    words: str,
) -> None:
    for allowed in (
        *(CLI_ENDED, CLI_UNUSABLE, "could not be examined"),
        *("requests fail until", "no claude CLI is started until"),
    ):
        expected_errors.allow(allowed)
    claude = fake("answer")
    server = each_way(claude_bin=claude.binary)
    assert (await server.get("/ready")).code == 200
    await server.idle()
    good = claude.binary.read_bytes()
    claude.binary.write_text(instead)
    # An empty file runs, and ends at once.
    response = await server.get("/ready")
    document = await response.json()
    assert (response.code, document["ready"]) == (503, False)
    assert words in document["message"]

    response = await server.chat("hello")
    error = (await response.json())["error"]
    assert response.code in (502, 503)
    assert words in error["message"]
    if instead == NPM_STUB:
        assert error["code"] == "claude_unavailable"
        assert response.headers.getRawHeaders("x-should-retry") == ["false"]
    # A restart of the proxy would not help.
    assert "restart" not in error["message"] + document["message"]

    claude.binary.write_bytes(good)
    assert (await server.get("/ready")).code == 200
    assert (await server.chat("hello")).code == 200


@ensureDeferred
async def test_messages_of_the_future_are_ignored(each_way: Start, fake: Fake) -> None:
    response = await each_way(claude_bin=fake("future").binary).chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "known"


@ensureDeferred
async def test_question_of_the_cli_is_answered_by_a_refusal(
    each_way: Start, fake: Fake
) -> None:
    response = await each_way(claude_bin=fake("asks").binary).chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "q1 error"


@ensureDeferred
async def test_noise_on_stderr_is_no_failure(each_way: Start, fake: Fake) -> None:
    response = await each_way(claude_bin=fake("noisy").binary).chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "fake answer"


@ensureDeferred
async def test_stubborn_cli_is_killed(
    each_way: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    expected_errors.allow(IGNORES_SIGTERM)
    server = each_way(claude_bin=fake("stubborn").binary, silence_timeout=0.2)
    response = await server.chat("hello", stream=True)
    *_, last = events(await response.text())
    assert json.loads(last)["error"]["code"] == "timeout"
    await server.stop()


@ensureDeferred
async def test_stopped_cli_is_killed(
    each_way: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    expected_errors.allow(IGNORES_SIGTERM)
    claude = fake("falls-silent")
    server = each_way(claude_bin=claude.binary, silence_timeout=0.3)
    response = await server.chat("hello", stream=True)
    received: list[bytes] = []
    done = response.collect(received.append)
    await until(lambda: b"half" in b"".join(received))
    for pid in processes_of(claude.log):
        os.kill(pid, signal.SIGSTOP)
    await done
    assert "timeout" in b"".join(received).decode()


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
    sent = claude.sent
    [first, *_] = [m for m in sent if m["type"] == "control_request"]
    assert first["request"] == {"subtype": "initialize", "systemPrompt": [""]}
    number = next(n for n, m in enumerate(sent) if m["type"] == "user")
    system, settings, user = sent[number - 2 : number + 1]
    assert system["request"] == {
        "subtype": "set_model",
        "model": "default",
        "system_prompt": "Be brief.",
    }
    assert settings["request"]["settings"]["model"] == "opus"
    body = settings["request"]["settings"]["env"]["CLAUDE_CODE_EXTRA_BODY"]
    assert json.loads(body)["messages"][0]["role"] == "user"
    assert user["client_composed"] is True
    assert user["message"]["content"] == "hello"


@ensureDeferred
async def test_private_folder_that_was_cleaned_away_comes_back(
    each_way: Start, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    binary = fake("answer").binary
    server = each_way(claude_bin=binary, state_dir=tmp_path / "state")
    assert (await server.chat("hello")).code == 200
    [folder] = tmp_path.glob("ccproxy-*")
    await server.idle()
    shutil.rmtree(folder)
    response = await server.chat("hello")
    assert (await response.json())["choices"][0]["message"]["content"] == "fake answer"
    await server.stop()
    assert not folder.exists()
