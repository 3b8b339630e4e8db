"""The pool: who is served when, with sessions under the test's control."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.claude.native.ask import Ask
from ccproxy.claude.native.pool import Pool
from ccproxy.claude.native.transcript import Plan, Reuse
from ccproxy.claude.native.waiting_room import WaitingLimits
from ccproxy.claude.observer import Served, Stopped
from ccproxy.claude.pool.limits import PoolLimits
from ccproxy.claude.process.launch import Launch
from ccproxy.conversation import (
    Message,
    Prompt,
    Role,
    TextBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.errors import ClaudeFailed, ClaudeUnavailable, QueueFull, ShuttingDown
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Waiting,
)
from tests.conftest import ExpectedErrors

PROMPT = Prompt(model="m", messages=(Message(Role.USER, (TextBlock("hello"),)),))
CALLING = evolve(PROMPT, tools=(Tool("look", None, {"type": "object"}),))
FINISHED = Finished(FinishReason.STOP, Usage())


LAUNCH = Launch(
    binary=Path("claude"),
    prefix=(),
    cwd=Path("cwd"),
    scratch=Path("scratch"),
    environment={},
    model="m",
)


@define(eq=False)
class FakeSession:
    """Does nothing; remembers what it was told."""

    launch: Launch = LAUNCH
    turns: int = 0
    resident_bytes: int = 0
    listener: Any = None
    prompts: list[Prompt] = field(factory=list)
    plans: list[Plan | None] = field(factory=list)
    paused: bool = False
    is_open: bool = False
    is_suspended: bool = False
    is_preparing: bool = False
    is_of_today: bool = True
    can_undo: bool = False
    rewinds: bool = False
    results: Any = None
    lost: Any = None
    undone: "Deferred[None] | None" = None
    closed: "Deferred[None] | None" = None

    def plan(self, prompt: Prompt, prints: Any, reuse: Reuse) -> Plan | None:
        """Of use for the same system prompt, and best for what was asked last."""
        if self.prompts and self.prompts[-1].system != prompt.system:
            return None
        if self.rewinds:
            return Plan("uuid", 0)
        return Plan(None, int(self.prompts[-1:] == [prompt]))

    def ask(self, prompt: Prompt, listener: Any, plan: Plan | None) -> None:
        self.turns += 1
        self.prompts.append(prompt)
        self.plans.append(plan)
        self.listener = listener
        self.is_open, self.can_undo = False, True

    def answer(self, *events: Event) -> None:
        """End the turn well."""
        self.is_open, self.can_undo = True, False
        self.listener.receive([*events, FINISHED])

    def undo(self) -> "Deferred[None]":
        self.undone = Deferred()
        return self.undone

    def suits(self, prompt: Prompt) -> bool:
        return self.is_of_today

    def is_undone(self) -> None:
        assert self.undone is not None
        self.is_open, self.can_undo = True, False
        self.undone.callback(None)

    def keep(self, lost: Any) -> None:
        self.lost = lost

    def go_on(self, prompt: Prompt, results: Any, listener: Any) -> None:
        self.is_suspended = False
        self.results, self.listener = results, listener

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> "Deferred[None]":
        self.closed = Deferred()
        return self.closed

    def gone(self) -> None:
        assert self.closed is not None
        self.closed.callback(None)


@define(eq=False)
class Heard:
    """A client."""

    events: list[Event] = field(factory=list)

    def receive(self, events: Sequence[Event]) -> None:
        self.events += events


@define(eq=False)
class Counts:
    """An observer that writes down what it is told."""

    served: list[tuple[Served, float]] = field(factory=list)
    stopped: list[Stopped] = field(factory=list)
    begun: list[tuple[str, Served, float]] = field(factory=list)

    def cli_started(self) -> None:
        raise AssertionError("told by the backend")

    def cli_stopped(self, why: Stopped) -> None:
        self.stopped.append(why)

    def question_served(self, served: Served, queued_seconds: float) -> None:
        self.served.append((served, queued_seconds))

    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        self.begun.append((model, served, seconds))

    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        raise AssertionError("told by the session")

    def cost_told(self, model: str, dollars: float) -> None:
        raise AssertionError("told by the session")


@define(eq=False)
class House:
    """A pool of two, and what became of it."""

    clock: Clock = field(factory=Clock)
    sessions: list[FakeSession] = field(factory=list)
    fail: ClaudeUnavailable | None = None
    reuse: Reuse = Reuse.OFF
    processes: int = 2
    spares: int = 0
    queue: int = 1000
    told: Counts = field(factory=Counts)
    pool: Pool = field(init=False)

    def __attrs_post_init__(self) -> None:
        starter: Any = self
        limits = PoolLimits(
            processes=self.processes,
            spares=self.spares,
            idle_seconds=600.0,
            recycle_bytes=1000,
            queue=self.queue,
            queue_seconds=60.0,
            reuse=self.reuse,
            waiting=WaitingLimits(sessions=1, seconds=300.0),
        )
        self.pool = Pool(starter, self.clock, limits, self.told)

    def launch(self, prompt: Prompt | None) -> Launch:
        return LAUNCH

    def start_cli(self, launch: Launch) -> FakeSession:
        if self.fail is not None:
            raise self.fail
        self.sessions.append(FakeSession(launch))
        return self.sessions[-1]

    def ask(self, prompt: Prompt = PROMPT) -> tuple[Ask, Heard]:
        heard = Heard()
        return self.pool.ask(prompt, heard), heard

    def ask_with_tools(self) -> Ask:
        return self.pool.ask(CALLING, Heard())


def test_first_come_first_served_within_the_limit() -> None:
    house = House()
    heard = [house.ask()[1] for _ in range(4)]
    assert len(house.sessions) == 2
    house.sessions[1].listener.receive([TextDelta("b"), FINISHED])
    assert heard[1].events == [TextDelta("b"), FINISHED]
    # A process counts until it is reaped.
    assert len(house.sessions) == 2
    house.sessions[1].gone()
    assert len(house.sessions) == 3
    house.sessions[2].listener.receive([FINISHED])
    assert heard[2].events == [FINISHED]
    assert heard[3].events == []


def test_waiting_client_that_goes_away_leaves_the_queue() -> None:
    house = House()
    asks = [house.ask()[0] for _ in range(4)]
    asks[2].cancel()
    asks[0].cancel()
    house.sessions[0].gone()
    assert len(house.sessions) == 3
    asks[1].cancel()
    house.sessions[1].gone()
    assert len(house.sessions) == 3


def test_cancelled_question_is_not_heard_of_again() -> None:
    house = House()
    ask, heard = house.ask()
    listener = house.sessions[0].listener
    ask.cancel()
    ask.cancel()
    listener.receive([TextDelta("late"), FINISHED])
    assert heard.events == []
    assert house.sessions[0].closed is not None


def test_pause_reaches_the_session_also_from_the_queue() -> None:
    house = House()
    asks = [house.ask()[0] for _ in range(3)]
    asks[2].pause()
    asks[0].pause()
    assert house.sessions[0].paused
    asks[0].resume()
    assert not house.sessions[0].paused
    asks[0].cancel()
    house.sessions[0].gone()
    assert house.sessions[2].paused


def test_cli_that_cannot_start_fails_each_question_and_later_ones_work() -> None:
    house = House(fail=ClaudeUnavailable("no CLI"))
    heard = [house.ask()[1] for _ in range(500)]
    assert heard[0].events == []
    house.clock.advance(0)
    assert [
        e.error.message for h in heard for e in h.events if isinstance(e, Failed)
    ] == ["no CLI"] * 500
    house.fail = None
    house.ask()
    assert len(house.sessions) == 1


def test_stop_fails_everyone_and_waits_for_every_process() -> None:
    house = House()
    heard = [house.ask()[1] for _ in range(3)]
    stopped: list[None] = []
    house.pool.stop().addCallback(stopped.append)
    house.clock.advance(0)
    for client in heard:
        [event] = client.events
        assert isinstance(event, Failed)
        assert isinstance(event.error, ShuttingDown)
    house.sessions[0].gone()
    assert stopped == []
    house.sessions[1].gone()
    assert stopped == [None]
    assert len(house.sessions) == 2


# Sessions that wait for results

CALLED = Finished(FinishReason.TOOL_USE, Usage())
USE = ToolUseBlock("t1", "look", {"at": "sky"})


def answered(result: ToolResultBlock, text: str = "Hm.") -> Prompt:
    """The conversation with the call and its result."""
    said = Message(Role.ASSISTANT, (TextBlock(text), USE))
    turns = (*CALLING.messages, said, Message(Role.USER, (result,)))
    return evolve(CALLING, messages=turns)


RESULT = ToolResultBlock("t1", "blue")


def call(session: FakeSession) -> None:
    """The session's answer is a call."""
    session.is_suspended = session.can_undo = True
    started = ToolCallStarted("t1", "look")
    arguments = ToolCallDelta('{"at":"sky"}')
    session.listener.receive([TextDelta("Hm."), started, arguments, CALLED])


def test_result_goes_to_the_session_that_waits_for_it() -> None:
    house = House()
    house.ask_with_tools()
    call(house.sessions[0])
    assert house.sessions[0].closed is None
    heard = Heard()
    house.pool.ask(answered(RESULT), heard)
    [session] = house.sessions
    assert session.results == [RESULT]
    session.listener.receive([TextDelta("It is."), FINISHED])
    assert heard.events == [TextDelta("It is."), FINISHED]
    assert session.closed is not None
    assert house.clock.getDelayedCalls() == []


def test_another_conversation_is_for_a_new_session() -> None:
    house = House()
    house.ask_with_tools()
    call(house.sessions[0])
    house.pool.ask(answered(RESULT, "Something else."), Heard())
    assert len(house.sessions) == 2
    assert house.sessions[0].results is None


def test_one_that_waits_since_yesterday_tells_the_model_another_date() -> None:
    house = House()
    house.ask_with_tools()
    call(house.sessions[0])
    house.sessions[0].is_of_today = False
    house.pool.ask(answered(RESULT), Heard())
    assert house.sessions[0].results is None
    assert len(house.sessions) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"tools": (Tool("look", None, {"default": True}),)},
        {"tools": (Tool("look", None, {"default": 1.0}),)},
        {"sampling": {"top_p": True}},
    ],
)
def test_what_only_python_takes_for_equal_is_another_request(
    change: dict[str, Any],
) -> None:
    house = House()
    tools = (Tool("look", None, {"default": 1}),)
    asked: dict[str, Any] = {"tools": tools, "sampling": {"top_p": 1}}
    house.pool.ask(evolve(CALLING, **asked), Heard())
    call(house.sessions[0])
    house.pool.ask(evolve(answered(RESULT), **{**asked, **change}), Heard())
    assert house.sessions[0].results is None


def test_waiting_ends_after_its_time() -> None:
    house = House()
    house.ask_with_tools()
    call(house.sessions[0])
    house.clock.advance(299)
    assert house.sessions[0].closed is None
    house.clock.advance(2)
    assert house.sessions[0].closed is not None
    house.pool.ask(answered(RESULT), Heard())
    assert len(house.sessions) == 2


def test_only_so_many_wait() -> None:
    house = House()
    for _ in range(2):
        house.ask_with_tools()
    call(house.sessions[0])
    call(house.sessions[1])
    assert house.sessions[0].closed is not None
    assert house.sessions[1].closed is None


def test_who_waits_makes_room_for_a_question() -> None:
    house = House()
    for _ in range(2):
        house.ask_with_tools()
    call(house.sessions[0])
    house.ask_with_tools()
    assert house.sessions[0].closed is not None
    assert len(house.sessions) == 2
    house.sessions[0].gone()
    assert len(house.sessions) == 3


def test_session_that_is_lost_is_not_waited_for() -> None:
    house = House()
    house.ask_with_tools()
    call(house.sessions[0])
    house.sessions[0].lost()
    assert house.sessions[0].closed is not None
    assert house.clock.getDelayedCalls() == []
    house.pool.ask(answered(RESULT), Heard())
    assert len(house.sessions) == 2


def test_session_that_died_while_it_waited_is_replaced() -> None:
    """As long as nothing was told, the client need not know."""
    house = House()
    house.ask_with_tools()
    call(house.sessions[0])
    heard = Heard()
    house.pool.ask(answered(RESULT), heard)
    failed = Failed(ClaudeFailed("gone"))
    house.sessions[0].listener.receive([failed])
    assert heard.events == []
    assert len(house.sessions) == 2
    house.sessions[1].listener.receive([TextDelta("It is."), failed])
    assert heard.events == [TextDelta("It is."), failed]
    assert len(house.sessions) == 2


def test_stop_also_ends_those_that_wait() -> None:
    house = House()
    house.ask_with_tools()
    call(house.sessions[0])
    stopped: list[None] = []
    house.pool.stop().addCallback(stopped.append)
    assert stopped == []
    house.sessions[0].gone()
    assert stopped == [None]


def test_client_that_paused_does_not_hold_a_waiting_session() -> None:
    house = House()
    ask = house.ask_with_tools()
    ask.pause()
    call(house.sessions[0])
    assert not house.sessions[0].paused


def test_question_after_the_stop_fails() -> None:
    house = House()
    house.pool.stop()
    heard = house.ask()[1]
    house.clock.advance(0)
    [event] = heard.events
    assert isinstance(event, Failed)
    assert house.sessions == []


# CLIs that are used again

KIND = evolve(PROMPT, system="Be kind.")


def test_one_that_has_answered_is_asked_again() -> None:
    house = House(reuse=Reuse.REWIND)
    house.ask()
    [session] = house.sessions
    session.answer()
    heard = house.ask()[1]
    assert house.sessions == [session]
    assert session.plans == [None, Plan(None, 1)]
    session.answer(TextDelta("again"))
    assert heard.events == [TextDelta("again"), FINISHED]


def test_the_one_that_knows_most_of_the_conversation_is_asked() -> None:
    house = House(reuse=Reuse.REWIND)
    other = evolve(PROMPT, max_tokens=7)
    house.ask(other)
    house.ask()
    for session in house.sessions:
        session.answer()
    house.ask()
    assert house.sessions[1].prompts == [PROMPT, PROMPT]
    house.ask()
    assert house.sessions[0].prompts == [other, PROMPT]


def test_without_reuse_each_is_asked_once() -> None:
    house = House()
    house.ask()
    house.sessions[0].answer()
    assert house.sessions[0].closed is not None


def test_one_of_another_system_prompt_makes_room() -> None:
    house = House(reuse=Reuse.REWIND, processes=1)
    house.ask()
    house.sessions[0].answer()
    house.ask(KIND)
    assert house.sessions[0].closed is not None
    house.sessions[0].gone()
    assert house.sessions[1].prompts == [KIND]


def test_who_is_next_takes_the_one_that_has_just_answered() -> None:
    house = House(reuse=Reuse.REWIND, processes=1)
    house.ask()
    ask, _ = house.ask()
    house.clock.advance(2)
    house.sessions[0].answer()
    assert house.sessions[0].prompts == [PROMPT, PROMPT]
    assert ask.queued_seconds == 2
    # And is not hurried any more.
    house.clock.advance(100)
    assert house.sessions[0].closed is None


def test_idle_ones_go_after_their_time() -> None:
    house = House(reuse=Reuse.REWIND)
    house.ask()
    house.sessions[0].answer()
    house.clock.advance(599)
    assert house.sessions[0].closed is None
    house.clock.advance(2)
    assert house.sessions[0].closed is not None


def test_one_that_died_meanwhile_is_forgotten() -> None:
    house = House(reuse=Reuse.REWIND)
    house.ask()
    house.sessions[0].answer()
    house.sessions[0].lost()
    house.ask()
    assert len(house.sessions) == 2


def test_one_that_is_too_large_or_too_old_is_replaced() -> None:
    for worn in ({"resident_bytes": 1001}, {"turns": 500}):
        house = House(reuse=Reuse.REWIND)
        house.ask()
        for name, value in worn.items():
            setattr(house.sessions[0], name, value)
        house.sessions[0].answer()
        assert house.sessions[0].closed is not None


def test_claude_codes_own_tools_are_not_used_twice() -> None:
    house = House(reuse=Reuse.REWIND)
    house.ask()
    house.sessions[0].launch = evolve(LAUNCH, agent_tools=("Read",))
    house.sessions[0].answer()
    assert house.sessions[0].closed is not None


def test_one_that_turns_out_to_be_of_no_use_is_replaced() -> None:
    house = House(reuse=Reuse.REWIND)
    house.ask()
    house.sessions[0].answer()
    heard = house.ask()[1]
    failed = Failed(ClaudeFailed("not rewound"))
    house.sessions[0].listener.receive([failed])
    assert heard.events == []
    assert house.sessions[0].closed is not None
    house.sessions[1].listener.receive([failed])
    assert heard.events == [failed]


def test_turn_of_a_client_that_went_away_is_taken_back() -> None:
    house = House(reuse=Reuse.REWIND, processes=1)
    ask, _ = house.ask()
    ask.cancel()
    [session] = house.sessions
    assert session.closed is None
    house.ask()
    assert len(session.prompts) == 1
    session.is_undone()
    assert len(session.prompts) == 2


def test_turn_that_is_not_taken_back_in_time_ends_the_cli() -> None:
    house = House(reuse=Reuse.REWIND)
    ask, _ = house.ask()
    ask.cancel()
    house.clock.advance(4)
    assert house.sessions[0].closed is not None


def test_stop_does_not_wait_for_what_is_taken_back() -> None:
    house = House(reuse=Reuse.REWIND)
    ask, _ = house.ask()
    ask.cancel()
    stopped: list[None] = []
    house.pool.stop().addCallback(stopped.append)
    house.sessions[0].gone()
    assert stopped == [None]
    assert house.clock.getDelayedCalls() == []


# Spares


def test_spare_is_started_when_it_is_quiet() -> None:
    house = House(spares=1)
    house.pool.start()
    house.clock.advance(0)
    [spare] = house.sessions
    house.ask()
    assert spare.prompts == [PROMPT]
    assert len(house.sessions) == 1
    house.clock.advance(0.2)
    house.ask(KIND)
    assert len(house.sessions) == 2
    house.sessions[0].listener.receive([FINISHED])
    house.clock.advance(0.2)
    assert len(house.sessions) == 2
    house.sessions[0].gone()
    house.clock.advance(0.3)
    assert len(house.sessions) == 3
    assert house.sessions[2].prompts == []


def test_spare_makes_room_for_nobody_but_is_taken_first() -> None:
    house = House(spares=1, processes=1)
    house.pool.start()
    house.clock.advance(0)
    house.ask()
    house.clock.advance(60)
    assert len(house.sessions) == 1


def test_spare_is_worth_more_than_the_oldest_conversation() -> None:
    house = House(reuse=Reuse.REWIND, spares=1)
    house.ask()
    house.ask(KIND)
    for session in house.sessions:
        session.answer()
    # But not while questions come: they may be for it.
    assert house.sessions[0].closed is None
    house.clock.advance(0.3)
    assert house.sessions[0].closed is not None
    house.clock.advance(1)
    assert house.sessions[1].closed is None
    house.sessions[0].gone()
    house.clock.advance(1)
    assert len(house.sessions) == 3


def test_spare_waits_until_every_cli_that_answers_has_started() -> None:
    house = House(spares=1, processes=3)
    house.ask()
    house.sessions[0].is_preparing = True
    house.clock.pump([0.3] * 5)
    assert len(house.sessions) == 1
    house.sessions[0].is_preparing = False
    house.clock.advance(0.3)
    assert len(house.sessions) == 2


def test_spare_that_dies_is_not_replaced_at_once(
    expected_errors: ExpectedErrors,
) -> None:
    expected_errors.allow("no claude CLI can be kept ready")
    house = House(spares=1)
    house.pool.start()
    house.clock.advance(0)
    for position, pause in enumerate((1.0, 2.0, 4.0)):
        house.sessions[position].lost()
        house.sessions[position].gone()
        house.clock.advance(pause - 0.1)
        assert len(house.sessions) == position + 1
        house.clock.advance(0.2)
        assert len(house.sessions) == position + 2
    # A question is not kept waiting, and a CLI that lives is worth another.
    house.ask()
    assert len(house.sessions) == 4


def test_spare_that_cannot_be_started_is_tried_again(
    expected_errors: ExpectedErrors,
) -> None:
    expected_errors.allow("no CLI")
    house = House(spares=1, fail=ClaudeUnavailable("no CLI"))
    house.pool.start()
    house.clock.advance(0)
    house.fail = None
    house.clock.advance(1.1)
    assert len(house.sessions) == 1


# The queue


def test_queue_has_an_end() -> None:
    house = House(queue=1, processes=1)
    heard = [house.ask()[1] for _ in range(3)]
    house.clock.advance(0)
    assert [bool(client.events) for client in heard] == [False, False, True]
    [failed] = heard[2].events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, QueueFull)
    assert failed.error.retry_after_seconds is not None


def test_without_a_queue_who_can_be_served_is() -> None:
    house = House(queue=0)
    heard = [house.ask()[1] for _ in range(3)]
    house.clock.advance(0)
    assert [bool(client.events) for client in heard] == [False, False, True]


def test_without_a_queue_who_waits_for_a_process_to_go_is_served() -> None:
    house = House(queue=0, processes=1, reuse=Reuse.REWIND)
    house.ask()
    house.sessions[0].answer()
    heard = house.ask(KIND)[1]
    refused = house.ask(KIND)[1]
    house.clock.advance(0)
    assert heard.events == []
    assert len(refused.events) == 1
    house.sessions[0].gone()
    assert house.sessions[1].prompts == [KIND]


def test_one_in_front_that_waits_for_a_place_keeps_nobody_else_waiting() -> None:
    """Nor does it cost those the CLIs that they can be asked by."""
    house = House(reuse=Reuse.REWIND, processes=3)
    for _ in range(3):
        house.ask()
    for session in house.sessions:
        session.answer()
    house.ask(KIND)
    house.ask()
    house.ask()
    assert [bool(session.closed) for session in house.sessions] == [True, False, False]
    assert [len(session.prompts) for session in house.sessions] == [1, 2, 2]
    house.sessions[0].gone()
    assert house.sessions[3].prompts == [KIND]


def test_waiting_in_the_queue_ends() -> None:
    house = House(processes=1)
    heard = [house.ask()[1] for _ in range(2)]
    house.clock.advance(61)
    assert heard[0].events == []
    [failed] = heard[1].events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, QueueFull)
    house.ask()[0].cancel()
    assert house.clock.getDelayedCalls() == []


# Draining


def test_drain_lets_everyone_finish_who_was_there() -> None:
    house = House(reuse=Reuse.REWIND, processes=1)
    heard = [house.ask()[1] for _ in range(2)]
    drained: list[None] = []
    house.pool.drain().addCallback(drained.append)
    late = house.ask()[1]
    house.clock.advance(0)
    [failed] = late.events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ShuttingDown)
    house.sessions[0].answer()
    assert heard[0].events == [FINISHED]
    assert drained == []
    house.sessions[0].gone()
    house.sessions[1].answer()
    assert heard[1].events == [FINISHED]
    assert drained == [None]


def test_nothing_to_drain() -> None:
    house = House(reuse=Reuse.REWIND, spares=1)
    house.ask()
    house.sessions[0].answer()
    drained: list[None] = []
    house.pool.drain().addCallback(drained.append)
    assert drained == [None]
    assert house.sessions[0].closed is not None
    assert house.clock.getDelayedCalls() == []


# What is counted


def test_it_is_told_what_answers_a_question() -> None:
    house = House(reuse=Reuse.REWIND, processes=1, spares=1)
    house.pool.start()
    house.clock.advance(0)
    house.ask()
    [session] = house.sessions
    session.answer()
    house.ask()
    session.answer()
    house.ask(evolve(PROMPT, model="n"))
    session.answer()
    house.ask(evolve(PROMPT, system="other"))
    session.gone()
    assert [served for served, _ in house.told.served] == [
        Served.SPARE,
        Served.CONTINUED,
        # `FakeSession.plan` takes nothing back for another conversation.
        Served.SPARE,
        Served.NEW,
    ]
    assert house.told.stopped == [Stopped.ROOM]


def test_it_is_told_what_is_taken_back_and_what_goes_on() -> None:
    house = House(reuse=Reuse.REWIND)
    house.ask_with_tools()
    [session] = house.sessions
    call(session)
    house.pool.ask(answered(RESULT), Heard())
    session.answer()
    session.rewinds = True
    house.ask()
    kinds = [served for served, _ in house.told.served]
    assert kinds == [Served.NEW, Served.SUSPENDED, Served.REWOUND]


def test_it_is_told_how_long_a_question_waited_and_when_its_answer_began() -> None:
    house = House(processes=1)
    house.ask()
    house.ask()
    house.clock.advance(3)
    house.sessions[0].answer()
    house.sessions[0].gone()
    assert house.told.served == [(Served.NEW, 0.0), (Served.NEW, 3.0)]
    listener = house.sessions[1].listener
    listener.receive([Waiting("overloaded", 1, 0.5)])
    house.clock.advance(1)
    listener.receive([MessageStarted("claude-m-1")])
    house.clock.advance(1)
    listener.receive([TextDelta("a")])
    house.clock.advance(1)
    listener.receive([TextDelta("b"), FINISHED])
    assert house.told.begun == [("claude-m-1", Served.NEW, 5.0)]


def test_it_is_told_why_a_cli_is_stopped() -> None:
    told = []
    for end in (_fails, _is_given_up, _grows, _idles, _is_lost, _stops):
        house = House(reuse=Reuse.REWIND, processes=1)
        ask, _ = house.ask()
        end(house, ask)
        assert house.sessions[0].closed is not None
        told += house.told.stopped
    house = House()
    house.ask()
    house.sessions[0].answer()
    assert told + house.told.stopped == [
        Stopped.UNUSABLE,
        Stopped.LOST,
        Stopped.WORN,
        Stopped.IDLE,
        Stopped.LOST,
        Stopped.SHUTDOWN,
        Stopped.NOT_REUSED,
    ]


def _fails(house: House, ask: Ask) -> None:
    house.sessions[0].can_undo = False
    house.sessions[0].listener.receive([Failed(ClaudeFailed("broken"))])


def _is_given_up(house: House, ask: Ask) -> None:
    """And then not undone in time."""
    ask.cancel()
    house.clock.advance(3)


def _grows(house: House, ask: Ask) -> None:
    house.sessions[0].resident_bytes = 1001
    house.sessions[0].answer()


def _idles(house: House, ask: Ask) -> None:
    house.sessions[0].answer()
    house.clock.advance(600)


def _is_lost(house: House, ask: Ask) -> None:
    house.sessions[0].answer()
    house.sessions[0].lost()


def _stops(house: House, ask: Ask) -> None:
    house.sessions[0].answer()
    house.pool.stop()
    house.sessions[0].gone()


def test_census_counts_each_cli_once() -> None:
    house = House(reuse=Reuse.REWIND, processes=3)
    assert set(house.pool.census().values()) == {0}
    house.ask()
    house.ask_with_tools()
    house.ask()[0].cancel()
    house.sessions[0].answer()
    call(house.sessions[1])
    assert house.pool.census() == {
        "answering": 0,
        "suspended": 1,
        "idle": 1,
        "spare": 0,
        "undoing": 1,
        "stopping": 0,
    }
    house.pool.stop()
    assert house.pool.census()["stopping"] == 3
    assert house.pool.queued == 0
