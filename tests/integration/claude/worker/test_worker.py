"""Workers with CLIs that have faults."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from typing_extensions import override

from ccproxy.claude.observer import ClaudeObserver
from ccproxy.claude.worker.commands import WorkerLost
from ccproxy.claude.worker.worker import Worker
from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeUnavailable,
    InternalError,
    NotLoggedIn,
    Overloaded,
    TimedOut,
)
from ccproxy.core.stream import MessageStart, UpstreamRetry
from ccproxy.core.usage import RateWindow
from tests.conftest import ExpectedErrors
from tests.support import fake_worker_cli
from tests.support.log_texts import CLI_ENDED, OWN_REQUEST
from tests.support.waiting import until
from tests.support.workers import Heard, Workers, composed, heard


@define(eq=False)
class Fakes:
    """Workers whose CLIs have faults."""

    folder: Path
    made: list[Workers]

    def __call__(self, *faults: str) -> Workers:
        number = len(self.made)
        folder = self.folder / str(number)
        folder.mkdir()
        log = folder / "log"
        log.touch()
        binary = folder / "claude"
        script = fake_worker_cli.__file__
        named = ",".join(faults)
        binary.write_text(
            f'#!/bin/sh\nexec {sys.executable} -I -S {script} "{named}" {log} "$@"\n'
        )
        binary.chmod(0o755)
        self.made.append(Workers(binary, folder))
        return self.made[-1]


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Fakes]:
    made: list[Workers] = []
    yield Fakes(tmp_path, made)
    for workers in made:
        pytest_twisted.blockon(Deferred.fromCoroutine(workers.stop()))


@pytest.fixture
def workers(fakes: Fakes) -> Workers:
    """Workers whose CLIs have no faults but those that a question asks for."""
    return fakes()


def sent(workers: Workers) -> list[dict[str, Any]]:
    whole, _, _ = (workers.folder / "log").read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


def commands(workers: Workers) -> list[str]:
    """Subtypes of the control requests that were sent, and ``user``."""
    return [
        line["request"]["subtype"] if line["type"] == "control_request" else "user"
        for line in sent(workers)
        if line["type"] != "control_response"
    ]


def settings(workers: Workers) -> list[Mapping[str, Any]]:
    return [
        line["request"]["settings"]
        for line in sent(workers)
        if line["type"] == "control_request"
        and line["request"]["subtype"] == "apply_flag_settings"
    ]


async def is_good(worker: Worker) -> None:
    assert (await heard(worker, composed("answer", "system"))).said == "fake answer"
    assert worker.is_ready


BEGUN = ["initialize", "set_model"]


# What is told before the question, and behind it.


@ensureDeferred
async def test_what_a_cli_is_told(workers: Workers) -> None:
    worker = workers.start()
    assert worker.is_starting
    body = composed("answer", "be brief", model="opus", effort="low")
    listener = Heard()
    worker.ask(body, listener)
    assert worker.is_preparing
    await until(lambda: worker.is_ready)
    told = sent(workers)
    assert commands(workers) == [
        *("initialize", "set_model"),
        *("set_model", "apply_flag_settings", "user"),
        "rewind_conversation",
    ]
    requests: list[Any] = [line.get("request") for line in told]
    assert requests[0] == {"subtype": "initialize", "systemPrompt": [""]}
    assert requests[2] == {
        "subtype": "set_model",
        "model": "default",
        "system_prompt": "be brief",
    }
    assert requests[3]["settings"] == {
        "model": "opus",
        "effortLevel": "low",
        "env": {
            "CLAUDE_CODE_EXTRA_BODY": body.json.decode(),
            "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE": "100000000",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "",
            "CLAUDE_CODE_PROMPT_CACHE_TTL": None,
        },
    }
    uuid = told[4]["uuid"]
    assert told[4] == {
        "type": "user",
        "message": {"role": "user", "content": "answer"},
        "parent_tool_use_id": None,
        "session_id": "",
        "uuid": uuid,
        "client_composed": True,
    }
    assert requests[5] == {
        "subtype": "rewind_conversation",
        "target_message_uuid": uuid,
        "last_seen_user_message_uuid": uuid,
    }
    assert listener.finished.cost_usd == 0.5
    assert len(workers.learned) == 1


@ensureDeferred
async def test_a_system_prompt_is_set_where_it_differs(workers: Workers) -> None:
    worker = workers.start()
    for system in ("", "", "one", "one", "two", "one"):
        assert worker.can_ask(system)
        await heard(worker, composed("answer", system))
    prompts = [
        line["request"]["system_prompt"]
        for line in sent(workers)
        if line.get("request", {}).get("subtype") == "set_model"
    ]
    assert prompts == ["", "one", "two", "one"]
    assert worker.system == "one"
    assert not worker.can_ask("")
    with pytest.raises(InternalError):
        worker.ask(composed("answer"), Heard())


@ensureDeferred
async def test_the_body_is_forgotten_where_no_question_comes(workers: Workers) -> None:
    clock = Clock()
    worker = workers.start(clock=clock)
    workers.ready.clear()
    again = Heard()

    def ask_again() -> None:
        if not again.events and worker.questions == 1:
            worker.ask(composed("second"), again)

    worker.on_ready(ask_again)
    await heard(worker, composed("first"))
    await until(lambda: again.is_over and worker.is_ready)
    assert [s["env"]["CLAUDE_CODE_EXTRA_BODY"] for s in settings(workers)] == [
        composed("first").json.decode(),
        composed("second").json.decode(),
    ]
    clock.advance(0.2)
    assert len(settings(workers)) == 2
    clock.advance(0.1)
    await until(lambda: len(settings(workers)) == 3)
    # It can ask nothing by itself from now on.
    assert settings(workers)[-1]["env"] == {
        "CLAUDE_CODE_EXTRA_BODY": "",
        "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE": "1",
    }
    await is_good(worker)


@pytest.mark.parametrize(
    "fault", ["refuse:initialize", "refuse:set_model", "refuse:apply_flag_settings"]
)
@ensureDeferred
async def test_a_refused_command_is_no_question(fakes: Fakes, fault: str) -> None:
    workers = fakes(fault)
    worker = workers.start()
    told = await heard(worker, composed("answer", "system"))
    assert isinstance(told.error, WorkerLost)
    assert told.was_gone
    assert not told.has_begun
    assert workers.lost == [worker]
    assert "user" not in commands(workers)


@pytest.mark.parametrize("fault", ["mute:set_model", "mute:apply_flag_settings"])
@ensureDeferred
async def test_nothing_is_asked_that_was_not_acknowledged(
    fakes: Fakes, fault: str
) -> None:
    workers, clock = fakes(fault), Clock()
    worker, listener = workers.start(clock=clock), Heard()
    worker.ask(composed("answer", "system"), listener)
    asked = [*BEGUN, "set_model", "apply_flag_settings"]
    waits_for = BEGUN if fault == "mute:set_model" else asked
    await until(lambda: commands(workers) == waits_for)
    clock.advance(2.5)
    assert listener.events == []
    clock.advance(30)
    assert isinstance(listener.error, WorkerLost | TimedOut)
    assert worker.is_gone
    assert commands(workers) == waits_for


@ensureDeferred
async def test_a_large_body_is_given_more_time(fakes: Fakes) -> None:
    workers, clock = fakes("mute:apply_flag_settings"), Clock()
    worker, listener = workers.start(clock=clock), Heard()
    worker.ask(composed("answer", "s" * 8_000_000), listener)
    asked = [*BEGUN, "set_model", "apply_flag_settings"]

    def is_asked() -> bool:
        # It is written in pieces.
        clock.advance(0)
        return commands(workers) == asked

    await until(is_asked)
    clock.advance(4.9)
    assert listener.events == []
    clock.advance(0.2)
    assert isinstance(listener.error, WorkerLost)


@pytest.mark.parametrize("fault", ["old:2.1.250", "ancient"])
@ensureDeferred
async def test_a_cli_that_is_too_old_never_sees_a_question(
    fakes: Fakes, fault: str
) -> None:
    workers = fakes(fault)
    worker, opened = workers.start(), workers.start()
    told = await heard(worker, composed("answer", "secret"))
    assert isinstance(told.error, ClaudeUnavailable)
    assert "2.1.251" in told.error.message
    with pytest.raises(ClaudeUnavailable, match=r"needs 2\.1\.251"):
        await opened.open()
    assert set(commands(workers)) <= {*BEGUN}
    assert "secret" not in (workers.folder / "log").read_text()


@ensureDeferred
async def test_a_new_cli_is_used(fakes: Fakes) -> None:
    workers = fakes("old:2.1.251")
    assert (await workers.start().open()).claude_code_version == "2.1.251"


@ensureDeferred
async def test_a_question_waits_until_it_is_open(workers: Workers) -> None:
    worker = workers.start()
    opened = Deferred.fromCoroutine(worker.open())
    told = await heard(worker, composed("answer"))
    assert (await opened).models[0].value == "sonnet"
    assert told.said == "fake answer"
    assert commands(workers).count("initialize") == 1
    assert await worker.open()


@ensureDeferred
async def test_one_that_never_answers_is_told_of(fakes: Fakes) -> None:
    workers, clock = fakes("mute:initialize"), Clock()
    limits = TurnTimeouts(first_token_timeout=9, silence_timeout=9, turn_timeout=60)
    worker = workers.start(limits, clock=clock)
    opened = Deferred.fromCoroutine(worker.open())
    await until(lambda: commands(workers))
    clock.advance(9)
    with pytest.raises(WorkerLost):
        await opened
    assert worker.is_gone
    assert len(workers.unheard) == 1


# A second request.


@pytest.mark.parametrize("question", ["twice", "whole-twice"])
@ensureDeferred
async def test_a_message_that_nobody_asked_for_ends_the_process(
    workers: Workers, expected_errors: ExpectedErrors, question: str
) -> None:
    expected_errors.allow(OWN_REQUEST)
    worker = workers.start()
    told = await heard(worker, composed(question))
    assert isinstance(told.error, WorkerLost)
    assert "other" not in told.said
    assert told.has_begun
    assert told.was_gone
    assert workers.lost == [worker]


@ensureDeferred
async def test_so_does_one_while_nothing_is_asked(
    workers: Workers, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(OWN_REQUEST)
    worker, listener = workers.start(), Heard()
    worker.ask(composed("later"), listener)
    await until(lambda: worker.is_gone)
    assert listener.said == "fake answer"
    assert listener.finished
    assert workers.lost == [worker]


@pytest.mark.parametrize("reason", ["max_tokens", "tool_use"])
@ensureDeferred
async def test_the_cli_is_kept_from_asking_again(workers: Workers, reason: str) -> None:
    worker = workers.start()
    told = await heard(worker, composed(f"ends {reason}"))
    assert (told.said, told.finished.stop_reason) == ("some ", reason)
    assert told.count(MessageStart) == 1
    # What the rest of the turn cost is none of this answer's.
    assert told.finished.cost_usd is None
    assert worker.is_ready
    await is_good(worker)
    assert not (workers.folder / "log.asked").exists()


@ensureDeferred
async def test_or_is_killed_before_it_does(workers: Workers) -> None:
    clock = Clock()
    worker = workers.start(clock=clock)
    told = await heard(worker, composed("ends max_tokens at-once"))
    assert (told.said, told.finished.stop_reason) == ("some ", "max_tokens")
    assert told.was_gone
    assert workers.lost == [worker]
    await worker.close()
    assert not (workers.folder / "log.asked").exists()


@ensureDeferred
async def test_a_short_answer_is_limited_at_once(workers: Workers) -> None:
    worker = workers.start(clock=Clock())
    told = await heard(worker, composed("ends max_tokens", max_tokens=4))
    assert told.finished.stop_reason == "max_tokens"
    assert worker.is_ready


@ensureDeferred
async def test_one_that_asks_all_the_same(
    workers: Workers, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(OWN_REQUEST)
    worker = workers.start()
    told = await heard(worker, composed("ends max_tokens anyway"))
    assert told.finished.stop_reason == "max_tokens"
    await until(lambda: worker.is_gone)
    assert workers.lost == [worker]


@ensureDeferred
async def test_a_limit_that_is_refused(fakes: Fakes) -> None:
    # The question's own settings are not refused: it is a fault of the second line.
    workers = fakes("refuse-limit")
    worker, listener = workers.start(), Heard(worker=None)
    worker.ask(composed("half"), listener)
    await until(lambda: listener.is_over)
    assert isinstance(listener.error, WorkerLost)
    assert worker.is_gone


# Behind the answer.


@pytest.mark.parametrize("fault", ["keeps", "older", "refuse:rewind_conversation"])
@ensureDeferred
async def test_what_is_not_taken_back_ends_the_process(
    fakes: Fakes, fault: str
) -> None:
    workers = fakes(fault)
    worker = workers.start()
    told = await heard(worker, composed("answer"))
    assert told.said == "fake answer"
    assert told.finished
    assert worker.is_gone
    assert workers.lost == [worker]
    assert workers.ready == []


@ensureDeferred
async def test_a_turn_that_does_not_end(fakes: Fakes) -> None:
    for faults, question in (
        (("mute:rewind_conversation",), "answer"),
        ((), "ends max_tokens never"),
    ):
        workers, clock = fakes(*faults), Clock()
        worker, listener = workers.start(clock=clock), Heard()
        worker.ask(composed(question, max_tokens=4), listener)
        await until(lambda one=listener: one.is_over)  # type: ignore[misc]
        assert listener.finished
        clock.advance(2.9)
        assert worker.is_settling
        clock.advance(0.2)
        assert worker.is_gone
        assert workers.lost == [worker]


@ensureDeferred
async def test_a_spare_that_is_warm_says_so(workers: Workers) -> None:
    worker = workers.start()
    await worker.open()
    assert workers.ready == []
    await worker.warm_up()
    assert worker.is_settling
    await until(lambda: worker.is_ready)
    assert workers.ready == [worker]
    await is_good(worker)


@ensureDeferred
async def test_abandoned_and_used_again(workers: Workers) -> None:
    worker, listener = workers.start(), Heard()
    worker.ask(composed("half"), listener)
    await until(lambda: listener.said)
    worker.abandon()
    assert worker.is_settling
    await until(lambda: worker.is_ready)
    assert not listener.is_over
    assert workers.ready == [worker]
    await is_good(worker)
    assert "interrupt" in commands(workers)


@ensureDeferred
async def test_abandoned_while_it_opens(workers: Workers) -> None:
    worker, listener = workers.start(), Heard()
    worker.ask(composed("answer"), listener)
    worker.abandon()
    await until(lambda: workers.ready == [worker])
    assert worker.is_ready
    assert commands(workers) == BEGUN
    assert listener.events == []
    await is_good(worker)


@pytest.mark.parametrize("fault", ["holds-on", "queues", "mute:interrupt"])
@ensureDeferred
async def test_abandoned_and_of_no_more_use(fakes: Fakes, fault: str) -> None:
    workers, clock = fakes(fault, "holds-on"), Clock()
    worker, listener = workers.start(clock=clock), Heard()
    worker.ask(composed("half"), listener)
    await until(lambda: listener.said)
    worker.abandon()
    await until(lambda: "interrupt" in commands(workers))
    clock.advance(0 if fault == "queues" else 3)
    await until(lambda: worker.is_gone)
    assert workers.lost == [worker]
    assert not listener.is_over


@ensureDeferred
async def test_a_limit_in_mid_answer_counts_when_it_is_abandoned(
    workers: Workers,
) -> None:
    """It ends for `max_tokens` before it hears of the interruption."""
    worker, listener = workers.start(clock=Clock()), Heard()
    worker.ask(composed("ends max_tokens"), listener)
    await until(lambda: listener.said)
    worker.abandon()
    await until(lambda: worker.is_ready or worker.is_gone)
    assert not (workers.folder / "log.asked").exists()


# Faults in mid-answer.


@pytest.mark.parametrize(
    "question",
    [
        *("dies 0", "dies 3", "hurts 9", "hurts 11"),
        *(f"says {x}" for x in ("cut", "glued", "utf8", "shape", "block", "long")),
    ],
)
@ensureDeferred
async def test_a_cli_that_is_lost(
    workers: Workers, expected_errors: ExpectedErrors, question: str
) -> None:
    expected_errors.allow(CLI_ENDED)
    worker = workers.start()
    told = await heard(worker, composed(question))
    assert told.said == "half "
    assert isinstance(told.error, WorkerLost)
    assert told.has_begun
    assert told.was_gone
    assert workers.lost == [worker]


@ensureDeferred
async def test_lost_before_it_has_told_anything(
    workers: Workers, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(CLI_ENDED)
    worker = workers.start()
    told = await heard(worker, composed("dies-early"))
    assert isinstance(told.error, WorkerLost)
    assert not told.has_begun


@ensureDeferred
async def test_nothing_is_known_that_was_not_asked(workers: Workers) -> None:
    worker = workers.start()
    assert (await heard(worker, composed("stray"))).said == "fake answer"
    assert (await heard(worker, composed("asks"))).said == "q1 error"
    await is_good(worker)


# Time.

SHORT = TurnTimeouts(first_token_timeout=5, silence_timeout=7, turn_timeout=20)


@pytest.mark.parametrize(
    ("question", "seconds", "option"),
    [("nothing", 5, "first-token"), ("half", 7, "silence")],
)
@ensureDeferred
async def test_too_late(
    workers: Workers, question: str, seconds: float, option: str
) -> None:
    clock = Clock()
    worker, listener = workers.start(SHORT, clock=clock), Heard()
    worker.ask(composed(question), listener)
    await until(lambda: worker.is_asking and (listener.said or question == "nothing"))
    clock.advance(seconds - 0.1)
    assert not listener.is_over
    clock.advance(0.2)
    assert isinstance(listener.error, TimedOut)
    assert option in listener.error.message
    await until(lambda: worker.is_ready)
    await is_good(worker)


@ensureDeferred
async def test_who_does_not_read_waits_for_nothing_but_the_whole(
    workers: Workers,
) -> None:
    clock = Clock()
    worker, listener = workers.start(SHORT, clock=clock), Heard()
    worker.ask(composed("half"), listener)
    await until(lambda: listener.said)
    worker.pause()
    clock.advance(15)
    assert not listener.is_over
    worker.resume()
    clock.advance(6.9)
    assert isinstance(listener.error, TimedOut)
    assert "--turn-timeout" in listener.error.message


@ensureDeferred
async def test_a_flood_stands_still_while_nobody_reads(workers: Workers) -> None:
    worker, listener = workers.start(), Heard()
    worker.ask(composed("floods"), listener)
    await until(lambda: listener.said)
    worker.pause()
    before = len(listener.said)
    assert before < 1_000_000
    await is_good(workers.start())
    assert len(listener.said) == before
    worker.resume()
    await until(lambda: worker.is_ready)
    assert len(listener.said) == 2_000_000
    assert listener.finished


@ensureDeferred
async def test_a_wait_that_is_short(workers: Workers) -> None:
    told = await heard(workers.start(), composed("waits 20"))
    assert told.events[0] == UpstreamRetry("overloaded", 1, 0.02)
    assert told.said == "fake answer"


@pytest.mark.parametrize(
    ("question", "error"), [("waits 500000", Overloaded), ("login", NotLoggedIn)]
)
@ensureDeferred
async def test_a_wait_that_is_no_use(
    workers: Workers, question: str, error: type[CCProxyError]
) -> None:
    worker = workers.start()
    told = await heard(worker, composed(question))
    assert isinstance(told.error, error)
    assert not told.has_begun
    await is_good(worker)


# Whether the process lives.

LOOK, ANSWER = 5, 5


@pytest.mark.parametrize("question", ["", "nothing", "half"])
@ensureDeferred
async def test_it_is_looked_at_now_and_then(workers: Workers, question: str) -> None:
    """A process that answers is well, also if the provider says nothing."""
    clock, limits = Clock(), TurnTimeouts()
    worker, listener = workers.start(limits, clock=clock), Heard()
    await is_good(worker)
    if question:
        worker.ask(composed(question, "system"), listener)
        await until(lambda: worker.is_asking and (listener.said or question != "half"))
    assert limits.silence_timeout == limits.first_token_timeout == 600
    for _ in range(590 // LOOK):
        await until(lambda: not worker._controls.is_waiting)
        clock.advance(LOOK)
    await until(lambda: not worker._controls.is_waiting)
    assert "ccproxy_ping" in commands(workers)
    assert worker.is_asking if question else worker.is_ready
    assert not listener.is_over
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    await until(lambda: worker._process.is_stopped)
    clock.advance(LOOK)
    assert worker.is_gone
    assert workers.lost == [worker]
    assert not question or isinstance(listener.error, WorkerLost)


@pytest.mark.parametrize("question", ["answer", "nothing", "half"])
@ensureDeferred
async def test_one_that_hangs_is_lost(fakes: Fakes, question: str) -> None:
    workers, clock = fakes("mute:ccproxy_ping"), Clock()
    worker, listener = workers.start(clock=clock), Heard()
    worker.ask(composed(question, "system"), listener)
    await until(
        lambda: (
            worker.is_ready
            or (worker.is_asking and question == "nothing")
            or (listener.said and question == "half")
        )
    )
    # The body is forgotten, or the CLI is limited to one request.
    clock.advance(1)
    await until(lambda: not worker._controls.is_waiting)
    clock.advance(LOOK - 1)
    clock.advance(ANSWER - 0.1)
    assert not worker.is_gone
    clock.advance(0.2)
    assert workers.lost == [worker]
    assert question == "answer" or isinstance(listener.error, WorkerLost)


@ensureDeferred
async def test_a_large_body_keeps_a_cli_from_answering(fakes: Fakes) -> None:
    workers, clock = fakes("mute:ccproxy_ping"), Clock()
    worker = workers.start(clock=clock)
    worker.ask(composed("nothing", note="x" * 8_000_000), Heard())

    def is_asking() -> bool:
        clock.advance(0)
        return worker.is_asking

    await until(is_asking)
    for _ in range(2):
        clock.advance(LOOK)
    assert not worker.is_gone
    clock.advance(2.1)
    assert worker.is_gone


@pytest.mark.parametrize("is_read_again", [False, True])
@ensureDeferred
async def test_one_that_is_not_read_owes_no_answer(
    fakes: Fakes, is_read_again: bool
) -> None:
    workers, clock = fakes("mute:ccproxy_ping"), Clock()
    worker, listener = workers.start(clock=clock), Heard()
    worker.ask(composed("half"), listener)
    await until(lambda: listener.said)
    clock.advance(LOOK)
    worker.pause()
    if is_read_again:
        worker.resume()
    clock.advance(ANSWER + 0.1)
    assert not worker.is_gone


# The end.


@pytest.mark.parametrize("question", ["", "nothing", "half"])
@ensureDeferred
async def test_closed_nobody_hears_of_it(workers: Workers, question: str) -> None:
    worker, listener = workers.start(), Heard()
    if question:
        worker.ask(composed(question), listener)
        await until(lambda: worker.is_asking and (listener.said or question != "half"))
    heard_before = len(listener.events)
    await worker.close()
    assert worker.is_gone
    assert len(listener.events) == heard_before
    assert workers.lost == []


@ensureDeferred
async def test_closed_while_it_opens(workers: Workers) -> None:
    worker = workers.start()
    opened = Deferred.fromCoroutine(worker.open())
    await worker.close()
    with pytest.raises(CCProxyError):
        await opened


# What is counted.


class Counting(ClaudeObserver):
    def __init__(self) -> None:
        self.costs: list[float] = []

    @override
    def cost_reported(self, model: str, dollars: float) -> None:
        assert model == "full-sonnet"
        self.costs.append(dollars)


@ensureDeferred
async def test_costs_and_limits_are_told(workers: Workers) -> None:
    observer, windows = Counting(), list[RateWindow]()
    worker = workers.start(
        observer=observer, on_limits=windows.extend, full_id=lambda name: f"full-{name}"
    )
    first = await heard(worker, composed("limits"))
    second = await heard(worker, composed("ends max_tokens", max_tokens=4))
    assert (first.finished.cost_usd, second.finished.cost_usd) == (0.5, None)
    # Also of what the CLI did behind the end of the answer.
    assert observer.costs == [0.5, 0.5]
    assert [window.name for window in windows] == ["five_hour"]


# Counts.


@ensureDeferred
async def test_a_count(workers: Workers) -> None:
    worker = workers.start()
    assert await worker.count("how many?", "opus") == 1009
    assert commands(workers) == [
        *(*BEGUN, "set_model", "apply_flag_settings", "get_context_usage"),
    ]
    assert settings(workers) == [
        {
            "model": "opus",
            "env": {
                "CLAUDE_CODE_EXTRA_BODY": "",
                "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE": "1",
            },
        }
    ]
    assert worker.is_ready
    assert (worker.questions, worker.system) == (1, "how many?")
    # A question without a system prompt needs another worker.
    assert not worker.can_ask("")
    assert (await heard(worker, composed("answer", "system"))).said == "fake answer"
    assert await worker.count("x" * 500_000, "opus") == 501_000
    await is_good(worker)
    assert workers.lost == []


@pytest.mark.parametrize("fault", ["guesses", "counts-other"])
@ensureDeferred
async def test_no_count_of_the_providers(fakes: Fakes, fault: str) -> None:
    worker = fakes(fault).start()
    for text in ("a", "abcd", "how many?", "é" * 101):
        assert await worker.count(text, "opus") is None
    await is_good(worker)


@ensureDeferred
async def test_a_cli_that_does_not_count(fakes: Fakes) -> None:
    worker = fakes("refuse:get_context_usage").start()
    assert await worker.count("how many?", "opus") is None
    await is_good(worker)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [("mute:get_context_usage", 15.0), ("mute:apply_flag_settings", 3.0)],
)
@ensureDeferred
async def test_a_count_that_hangs(fakes: Fakes, fault: str, seconds: float) -> None:
    workers, clock = fakes(fault), Clock()
    worker = workers.start(clock=clock)
    counting = Deferred.fromCoroutine(worker.count("how many?", "opus"))
    await until(lambda: commands(workers)[-1:] == [fault.removeprefix("mute:")])
    clock.advance(seconds - 0.1)
    assert worker.is_preparing
    clock.advance(0.2)
    with pytest.raises(WorkerLost):
        await counting
    assert worker.is_gone
    assert workers.lost == [worker]


@ensureDeferred
async def test_a_count_of_a_cli_that_dies(
    fakes: Fakes, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(CLI_ENDED)
    workers = fakes("mute:get_context_usage")
    worker = workers.start()
    counting = Deferred.fromCoroutine(worker.count("how many?", "opus"))
    await until(lambda: commands(workers)[-1:] == ["get_context_usage"])
    worker.kill()
    with pytest.raises(WorkerLost):
        await counting
    await until(lambda: workers.lost == [worker])


@ensureDeferred
async def test_a_count_that_is_abandoned(fakes: Fakes) -> None:
    workers = fakes()
    worker = workers.start()
    counting = Deferred.fromCoroutine(worker.count("how many?", "opus"))
    await worker.open()
    assert worker.is_preparing
    worker.abandon()
    assert worker.is_settling
    await counting
    assert worker.is_ready
    assert workers.ready == [worker]
    await is_good(worker)
    # While the CLI starts, nothing was sent to it.
    other = workers.start()
    counting = Deferred.fromCoroutine(other.count("how many?", "opus"))
    other.abandon()
    assert other.is_starting
    assert await counting is None
    assert other.system is None


@ensureDeferred
async def test_an_abandoned_count_that_hangs(fakes: Fakes) -> None:
    workers, clock = fakes("mute:get_context_usage"), Clock()
    worker = workers.start(clock=clock)
    counting = Deferred.fromCoroutine(worker.count("how many?", "opus"))
    await until(lambda: commands(workers)[-1:] == ["get_context_usage"])
    worker.abandon()
    clock.advance(3.1)
    assert worker.is_gone
    with pytest.raises(WorkerLost):
        await counting


@ensureDeferred
async def test_a_count_of_a_worker_that_is_closed(fakes: Fakes) -> None:
    workers = fakes("mute:get_context_usage")
    worker = workers.start()
    counting = Deferred.fromCoroutine(worker.count("how many?", "opus"))
    await until(lambda: commands(workers)[-1:] == ["get_context_usage"])
    closed = worker.close()
    with pytest.raises(CCProxyError):
        await counting
    await closed
    assert worker.is_gone


@ensureDeferred
async def test_a_worker_that_is_not_free_counts_nothing(workers: Workers) -> None:
    worker = workers.start()
    worker.ask(composed("answer"), Heard())
    with pytest.raises(InternalError):
        await worker.count("how many?", "opus")
    await until(lambda: worker.is_ready)
