"""Native mode's pool and questions, with sessions under the test's control."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from ccproxy.claude.native.block_writer import BlockWriter
from ccproxy.claude.native.completion import NativeCompletion
from ccproxy.claude.native.pool import NativePool
from ccproxy.claude.native.prompt import (
    NativeQuestion,
    Prompt,
    PromptMessage,
    PromptTool,
    Role,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.claude.native.session import SessionLost
from ccproxy.claude.observer import Served, StopReason
from ccproxy.claude.pool.processes import ProcessSlots
from ccproxy.claude.pool.requests import RequestQueue
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    ClaudeUnavailable,
    ClaudeUnresponsive,
    InvalidRequest,
    Overloaded,
    QueueFull,
    SchemaNotSatisfied,
    ShuttingDown,
    TimedOut,
)
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    MessageStart,
    Restarted,
    TextDelta,
    UpstreamRetry,
)
from tests.support.fake_workers import Counts

HELLO = Prompt(model="m", messages=(PromptMessage(Role.USER, (TextBlock("hello"),)),))
CALLING = evolve(HELLO, tools=(PromptTool("look", None, {"type": "object"}),))
FORMED = evolve(HELLO, schema={"type": "object"})
STOP = Finished("end_turn")
BEGUN = MessageStart("claude-m-1")
LOST = Failed(SessionLost("gone"))

LAUNCH = LaunchSpec(
    binary=Path("claude"),
    prefix=(),
    cwd=Path("cwd"),
    scratch=Path("scratch"),
    environment={},
    model="m",
    agent_tools=("Read", "Glob"),
)


@define(eq=False)
class FakeSession:
    """Does nothing; remembers what it was told."""

    launch: LaunchSpec
    prompt: Prompt | None = None
    listener: Any = None
    writer: BlockWriter = field(factory=BlockWriter)
    results: Any = None
    is_paused: bool = False
    is_killed: bool = False
    is_suspended: bool = False
    is_preparing: bool = False
    lost: Any = None
    closed: "Deferred[None] | None" = None

    # What the pool and the questions do.

    def ask(self, prompt: Prompt, listener: Any) -> None:
        self.prompt, self.listener = prompt, listener

    def resume_with_results(self, prompt: Prompt, results: Any, listener: Any) -> None:
        self.is_suspended = False
        self.results, self.listener = results, listener

    def watch(self, on_lost: Any) -> None:
        self.lost = on_lost

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def kill(self) -> None:
        self.is_killed = True

    def close(self) -> "Deferred[None]":
        assert self.closed is None
        self.closed = Deferred()
        return self.closed

    # What the test does.

    @property
    def is_closed(self) -> bool:
        return self.closed is not None

    def say(self, *steps: Event | str) -> None:
        """Send events, and texts in blocks of text; the end closes what is open."""
        events: list[Event] = []
        for step in steps:
            match step:
                case str():
                    events += self.writer.text(step)
                case MessageStart(model, usage):
                    events += self.writer.message(model, usage)
                case Restarted():
                    events += self.writer.restart(step)
                case Finished():
                    events += [*self.writer.close(), step]
                case _:
                    events.append(step)
        self.listener.receive(events)

    def answer(self, *texts: str) -> None:
        self.say(BEGUN, *texts, STOP)

    def call(self) -> None:
        """Answer by a call behind a call of Claude Code's own, and wait."""
        self.is_suspended = True
        self.say(BEGUN, "Hm.")
        call = self.writer.call("t1", "look")
        self.say(*call, *self.writer.arguments('{"at":"sky"}'), Finished("tool_use"))

    def is_reaped(self) -> None:
        assert self.closed is not None
        self.closed.callback(None)


@define(eq=False)
class Client:
    """Keeps what it is told, and sees that there is one end."""

    events: list[Event] = field(factory=list)
    completion: NativeCompletion | None = None
    cancels_at: type[Event] | None = None

    def receive(self, events: Sequence[Event]) -> None:
        assert events
        assert not self.is_over
        self.events += events
        kinds = tuple(map(type, events))
        if self.cancels_at in kinds and self.completion is not None:
            self.completion.cancel()

    @property
    def is_over(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], Finished | Failed)

    @property
    def text(self) -> str:
        """The whole answer."""
        assert isinstance(self.events[-1], Finished)
        return "".join(e.text for e in self.events if isinstance(e, TextDelta))

    @property
    def error(self) -> CCProxyError:
        end = self.events[-1]
        assert isinstance(end, Failed)
        return end.error


@define(eq=False)
class House:
    """A pool, and what became of it; the factory and the checker are the test's."""

    processes: int = 2
    queue: int = 1000
    waiting: int = 1
    clock: Clock = field(factory=Clock)
    sessions: list[FakeSession] = field(factory=list)
    refusal: CCProxyError | None = None
    is_examined: bool = True
    checks: list[tuple[bytes, bytes, "Deferred[str | None]"]] = field(factory=list)
    cancelled_checks: int = 0
    told: Counts = field(factory=Counts)
    slots: ProcessSlots = field(init=False)
    pool: NativePool = field(init=False)

    def __attrs_post_init__(self) -> None:
        house: Any = self
        self.slots = ProcessSlots(self.processes)
        self.pool = NativePool(
            house,
            self.clock,
            NativeSettings(max_suspended=self.waiting, suspended_timeout=300.0),
            self.slots,
            RequestQueue(self.queue, 60.0, self.processes),
            house,
            self.told,
        )

    # The factory.

    def is_allowed(self) -> bool:
        return self.is_examined

    def launch(self, without: frozenset[str]) -> LaunchSpec:
        return LAUNCH.without(without)

    def start(self, launch: LaunchSpec) -> FakeSession:
        if self.refusal is not None:
            raise self.refusal
        self.sessions.append(FakeSession(launch))
        return self.sessions[-1]

    # The checker.

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        outcome: Deferred[str | None] = Deferred()
        self.checks.append((schema, instance, outcome))
        try:
            return await outcome
        except CancelledError:
            self.cancelled_checks += 1
            raise

    # The clients.

    def ask(self, prompt: Prompt = HELLO, **about: Any) -> tuple[Any, Client]:
        client = Client(**about)
        question = NativeQuestion(prompt=prompt, adjusted=(), ignored=())
        client.completion = self.pool.ask(question, client)
        assert client.events == []
        return client.completion, client

    def reap(self) -> None:
        """Every process that is being stopped is gone now."""
        for session in self.sessions:
            if session.closed is not None and not session.closed.called:
                session.is_reaped()

    def has_nothing(self) -> bool:
        """Whether all is given back, once the processes are gone."""
        self.reap()
        assert set(self.pool.session_counts().values()) == {0}
        assert (self.slots.taken, self.slots.leaving) == (0, 0)
        assert self.pool.queued == 0
        assert self.clock.getDelayedCalls() == []
        return True


# Who is served when


def test_first_come_first_served_within_the_limit() -> None:
    house = House()
    clients = [house.ask()[1] for _ in range(4)]
    assert len(house.sessions) == 2
    house.sessions[1].answer("b")
    assert clients[1].text == "b"
    # A process counts until it is reaped.
    assert len(house.sessions) == 2
    house.sessions[1].is_reaped()
    assert len(house.sessions) == 3
    house.sessions[2].answer("c")
    assert clients[2].text == "c"
    assert clients[3].events == []


def test_each_process_is_asked_once() -> None:
    house = House()
    for _ in range(3):
        house.ask()
        house.sessions[-1].answer("a")
        house.reap()
    assert len(house.sessions) == 3
    assert house.told.stopped == [StopReason.NOT_REUSED] * 3
    assert house.told.served == [(Served.NEW, 0.0)] * 3
    assert house.has_nothing()


def test_own_tool_of_a_clients_name_is_left_out() -> None:
    house = House()
    house.ask(evolve(HELLO, tools=(PromptTool("Read", None, {"type": "object"}),)))
    assert house.sessions[0].launch.agent_tools == ("Glob",)


def test_queue_has_an_end() -> None:
    house = House(queue=1, processes=1)
    clients = [house.ask()[1] for _ in range(3)]
    house.clock.advance(0)
    assert [bool(client.events) for client in clients] == [False, False, True]
    assert isinstance(clients[2].error, QueueFull)
    assert clients[2].error.retry_after_seconds is not None


def test_without_a_queue_a_place_that_is_becoming_free_is_waited_for() -> None:
    house = House(queue=0, processes=1)
    house.ask()
    house.sessions[0].answer("a")
    served, refused = house.ask()[1], house.ask()[1]
    house.clock.advance(0)
    assert isinstance(refused.error, QueueFull)
    house.sessions[0].is_reaped()
    house.sessions[1].answer("b")
    assert served.text == "b"


def test_waiting_in_the_queue_ends() -> None:
    house = House(processes=1)
    clients = [house.ask()[1] for _ in range(2)]
    house.clock.advance(61)
    assert clients[0].events == []
    assert isinstance(clients[1].error, QueueFull)


def test_time_in_the_queue_and_to_the_first_token_is_told() -> None:
    house = House(processes=1)
    house.ask()
    completion, _ = house.ask()
    house.clock.advance(3)
    house.sessions[0].answer("a")
    house.reap()
    assert completion.queued_seconds == 3
    assert house.told.served == [(Served.NEW, 0.0), (Served.NEW, 3.0)]
    house.told.begun.clear()
    house.sessions[1].say(UpstreamRetry("overloaded", 1, 0.5))
    house.clock.advance(1)
    house.sessions[1].say(BEGUN)
    house.clock.advance(1)
    house.sessions[1].say("a")
    house.sessions[1].say("b", STOP)
    assert house.told.begun == [("claude-m-1", Served.NEW, 5.0)]


@pytest.mark.parametrize(
    "refusal", [ClaudeUnavailable("no CLI"), ClaudeUnresponsive("down")]
)
def test_cli_that_cannot_start_fails_each_question(refusal: CCProxyError) -> None:
    """In a later turn; and later questions work. The circuit breaker is one."""
    house = House(refusal=refusal)
    clients = [house.ask()[1] for _ in range(500)]
    house.clock.advance(0)
    assert {client.error for client in clients} == {refusal}
    house.refusal = None
    house.ask()[0].cancel()
    assert house.has_nothing()


def test_question_waits_while_the_binary_is_examined() -> None:
    house = House(is_examined=False)
    client = house.ask()[1]
    assert house.sessions == []
    house.is_examined = True
    house.pool.wake()
    house.sessions[0].answer("a")
    assert client.text == "a"


# A process that is lost


def test_process_that_is_lost_before_anything_was_told_is_replaced() -> None:
    house = House(processes=1)
    completion, client = house.ask()
    completion.pause()
    later = house.ask()[1]
    house.clock.advance(2)
    house.sessions[0].say(UpstreamRetry("overloaded", 1, 0.5))
    house.sessions[0].say(LOST)
    assert client.events == [UpstreamRetry("overloaded", 1, 0.5)]
    assert house.told.stopped == [StopReason.LOST]
    assert not house.sessions[0].is_paused
    house.reap()
    # It has had its turn already.
    assert later.events == []
    assert house.sessions[1].is_paused
    house.sessions[1].answer("a")
    assert client.text == "a"
    # What is told is the time that it has waited for its first process.
    assert completion.queued_seconds == 0
    house.reap()
    house.sessions[2].answer("b")
    assert house.has_nothing()


def test_process_is_replaced_once() -> None:
    house = House()
    client = house.ask()[1]
    for session in (0, 1):
        house.sessions[session].say(LOST)
    assert client.error is LOST.error
    assert len(house.sessions) == 2
    assert house.has_nothing()


@pytest.mark.parametrize(
    "error",
    [TimedOut("late"), Overloaded("no"), InvalidRequest("no"), ClaudeFailed("no tool")],
)
def test_other_errors_are_told(error: CCProxyError) -> None:
    house = House()
    client = house.ask()[1]
    house.sessions[0].say(Failed(error))
    assert client.error is error
    assert len(house.sessions) == 1


def test_half_an_answer_is_not_asked_for_again() -> None:
    """Claude Code may have used a tool of its own by then."""
    house = House()
    client = house.ask()[1]
    house.sessions[0].say(BEGUN)
    house.sessions[0].say(LOST)
    assert client.error is LOST.error
    assert len(house.sessions) == 1


def test_question_of_a_lost_process_does_not_wait_for_ever() -> None:
    house = House(processes=1)
    client = house.ask()[1]
    house.sessions[0].say(LOST)
    house.clock.advance(61)
    assert isinstance(client.error, QueueFull)
    assert house.has_nothing()


def test_question_of_a_lost_process_may_be_given_up() -> None:
    house = House(processes=1)
    completion, client = house.ask()
    house.sessions[0].say(LOST)
    completion.cancel()
    assert client.events == []
    assert house.has_nothing()
    assert len(house.sessions) == 1


# The client


def test_pause_reaches_the_session_also_from_the_queue() -> None:
    house = House(processes=1)
    first, second = house.ask()[0], house.ask()[0]
    second.pause()
    first.pause()
    assert house.sessions[0].is_paused
    first.resume()
    assert not house.sessions[0].is_paused
    first.pause()
    first.cancel()
    # What it does now is not for this client's socket.
    assert not house.sessions[0].is_paused
    house.reap()
    assert house.sessions[1].is_paused
    second.resume()
    assert not house.sessions[1].is_paused


def test_question_that_is_given_up_in_the_queue() -> None:
    house = House(processes=1)
    first, waiting = house.ask()[0], house.ask()[0]
    waiting.cancel()
    first.cancel()
    assert house.has_nothing()
    assert len(house.sessions) == 1


def test_question_that_is_given_up_while_it_is_answered() -> None:
    house = House()
    completion, client = house.ask()
    listener = house.sessions[0].listener
    house.sessions[0].say(BEGUN, "a")
    told = [*client.events]
    completion.cancel()
    completion.cancel()
    listener.receive([TextDelta("late"), STOP])
    assert client.events == told
    assert house.has_nothing()


def test_question_that_is_given_up_by_its_own_listener() -> None:
    house = House()
    client = house.ask(cancels_at=MessageStart)[1]
    house.sessions[0].say(BEGUN)
    house.sessions[0].answer("late")
    assert client.events == [MessageStart("claude-m-1")]
    assert house.has_nothing()


def test_error_is_not_told_to_a_client_that_has_gone() -> None:
    house = House(refusal=ClaudeUnavailable("no CLI"))
    completion, client = house.ask()
    completion.cancel()
    house.clock.advance(0)
    assert client.events == []
    assert house.has_nothing()


# Stop sequences of white space


def test_answer_ends_at_a_stop_sequence_of_white_space() -> None:
    """The process, which would go on, is stopped."""
    house = House()
    client = house.ask(evolve(HELLO, blank_stops=("\n\n",)))[1]
    house.sessions[0].say(BEGUN, "one\n")
    assert [e.text for e in client.events if isinstance(e, TextDelta)] == ["one"]
    house.sessions[0].say("\ntwo", "three")
    assert client.text == "one"
    end = client.events[-1]
    assert isinstance(end, Finished)
    assert (end.stop_reason, end.stop_sequence) == ("stop_sequence", "\n\n")
    assert house.has_nothing()


def test_text_that_only_begins_like_a_stop_sequence_is_sent() -> None:
    house = House()
    client = house.ask(evolve(HELLO, blank_stops=("\n\n",)))[1]
    house.sessions[0].answer("one\n", "two\n")
    assert client.text == "one\ntwo\n"
    assert house.has_nothing()


# Answers by a schema


def test_whole_answer_is_compared_with_its_schema() -> None:
    """Without a process, and by all that was said since the last restart."""
    house = House(processes=1)
    client = house.ask(FORMED)[1]
    later = house.ask()[1]
    void = Restarted("the model gave two answers")
    house.sessions[0].say(BEGUN, "void", void, BEGUN)
    house.sessions[0].say('{"a":', "1}", STOP)
    [(schema, instance, outcome)] = house.checks
    assert (schema, instance) == (b'{"type":"object"}', b'{"a":1}')
    assert not client.is_over
    house.reap()
    house.sessions[1].answer("b")
    assert later.text == "b"
    outcome.callback(None)
    assert isinstance(client.events[-1], Finished)
    assert house.has_nothing()


def test_answer_that_does_not_satisfy_its_schema() -> None:
    house = House()
    client = house.ask(FORMED)[1]
    house.sessions[0].answer("{}")
    house.checks[0][2].callback("`a` is missing")
    assert isinstance(client.error, SchemaNotSatisfied)
    assert "`a` is missing" in client.error.message
    assert house.has_nothing()


@pytest.mark.parametrize(
    "error", [SchemaNotSatisfied("it took too long"), Overloaded("too many")]
)
def test_check_that_fails_is_the_end(error: CCProxyError) -> None:
    house = House()
    client = house.ask(FORMED)[1]
    house.sessions[0].answer("{}")
    house.checks[0][2].errback(error)
    assert client.error is error
    assert house.has_nothing()


@pytest.mark.parametrize("reason", ["max_tokens", "refusal"])
def test_answer_that_is_not_whole_is_not_compared(reason: str) -> None:
    house = House()
    client = house.ask(FORMED)[1]
    house.sessions[0].say(BEGUN, Finished(reason))
    assert client.is_over
    assert house.checks == []


def test_question_that_is_given_up_while_it_is_checked() -> None:
    house = House()
    completion, client = house.ask(FORMED)
    house.sessions[0].answer("{}")
    before = [*client.events]
    completion.cancel()
    assert house.cancelled_checks == 1
    assert client.events == before
    assert house.has_nothing()


def test_listener_that_gives_up_just_before_the_check() -> None:
    house = House()
    house.ask(FORMED, cancels_at=TextDelta)
    house.sessions[0].answer("{}")
    assert house.checks == []
    assert house.has_nothing()


# Sessions that wait for results

USE = ToolUseBlock("t1", "look", {"at": "sky"})
RESULT = ToolResultBlock("t1", "blue")


def answered(text: str = "Hm.", prompt: Prompt = CALLING) -> Prompt:
    """The conversation with the call and its result."""
    said = PromptMessage(Role.ASSISTANT, (TextBlock(text), USE))
    turns = (*CALLING.messages, said, PromptMessage(Role.USER, (RESULT,)))
    return evolve(prompt, messages=turns)


def waiting_session(house: House) -> FakeSession:
    house.ask(CALLING)
    session = house.sessions[-1]
    session.call()
    return session


def test_result_goes_to_the_session_that_waits_for_it() -> None:
    house = House()
    session = waiting_session(house)
    assert not session.is_closed
    assert house.pool.session_counts()["suspended"] == 1
    client = house.ask(answered())[1]
    assert session.results == [RESULT]
    session.answer("It is.")
    assert client.text == "It is."
    assert [served for served, _ in house.told.served] == [
        Served.NEW,
        Served.SUSPENDED,
    ]
    assert house.has_nothing()


@pytest.mark.parametrize(
    "prompt",
    [
        answered("Something else."),
        answered(prompt=evolve(CALLING, sampling={"top_p": 0.5})),
        answered(prompt=evolve(CALLING, tools=(PromptTool("look", None, {"x": 1.0}),))),
        answered(prompt=evolve(CALLING, model="n")),
    ],
)
def test_another_request_is_for_a_new_process(prompt: Prompt) -> None:
    house = House()
    session = waiting_session(house)
    house.ask(prompt)
    assert len(house.sessions) == 2
    assert session.results is None


def test_session_that_was_not_suspended_is_not_kept() -> None:
    """Its history is told to a new one."""
    house = House()
    house.ask(CALLING)
    end = Finished("tool_use")
    house.sessions[0].say(BEGUN, *BlockWriter().call("t1", "look"), end)
    assert house.sessions[0].is_closed


def test_waiting_ends_after_its_time() -> None:
    house = House()
    session = waiting_session(house)
    house.clock.advance(299)
    assert not session.is_closed
    house.clock.advance(2)
    assert session.is_closed
    assert house.told.stopped == [StopReason.IDLE]
    assert house.has_nothing()


def test_only_so_many_wait() -> None:
    house = House()
    sessions = [waiting_session(house) for _ in range(2)]
    assert [session.is_closed for session in sessions] == [True, False]
    assert house.told.stopped == [StopReason.ROOM]


def test_nobody_waits_if_that_is_not_wanted() -> None:
    house = House(waiting=0)
    assert waiting_session(house).is_closed


def test_session_that_is_lost_is_not_waited_with() -> None:
    house = House()
    session = waiting_session(house)
    session.lost()
    assert house.told.stopped == [StopReason.LOST]
    assert house.has_nothing()
    house.ask(answered())
    assert len(house.sessions) == 2


@pytest.mark.parametrize("error", [LOST.error, ClaudeFailed("it went on by itself")])
def test_session_that_died_while_it_waited_is_replaced(error: CCProxyError) -> None:
    """A new one is told the whole conversation, whatever was wrong."""
    house = House()
    session = waiting_session(house)
    client = house.ask(answered())[1]
    session.say(Failed(error))
    assert client.events == []
    assert house.sessions[1].prompt == answered()
    house.sessions[1].answer("It is.")
    assert client.text == "It is."
    assert house.has_nothing()


def test_client_that_paused_does_not_hold_a_waiting_session() -> None:
    house = House()
    completion, _ = house.ask(CALLING)
    completion.pause()
    house.sessions[0].call()
    assert not house.sessions[0].is_paused


# Room


def test_who_waits_makes_room_for_a_question() -> None:
    house = House(processes=1)
    session = waiting_session(house)
    client = house.ask()[1]
    assert session.is_closed
    assert len(house.sessions) == 1
    session.is_reaped()
    house.sessions[1].answer("a")
    assert client.text == "a"


def test_only_as_many_make_room_as_are_needed() -> None:
    house = House(processes=2, waiting=2)
    sessions = [waiting_session(house) for _ in range(2)]
    house.ask()
    assert [session.is_closed for session in sessions] == [True, False]
    house.ask()
    assert [session.is_closed for session in sessions] == [True, True]


def test_who_waits_makes_room_for_others() -> None:
    """Such as those in body mode; and the other way round."""
    house = House(processes=1)
    session = waiting_session(house)
    assert house.slots.make_room()
    assert session.is_closed
    session.is_reaped()
    house.slots.take()
    rooms: list[None] = []

    def make_room() -> bool:
        rooms.append(None)
        house.slots.leave()
        return True

    house.slots.watch(lambda: None, make_room)
    client = house.ask()[1]
    house.clock.advance(1)
    assert (len(rooms), client.events) == (1, [])
    house.slots.give_back()
    house.sessions[1].answer("a")
    assert client.text == "a"


# Its end


def test_stop_fails_everyone_and_waits_for_every_process() -> None:
    house = House(processes=4)
    waits = waiting_session(house)
    house.ask(FORMED)
    house.sessions[1].answer("{}")
    clients = [house.ask()[1] for _ in range(2)]
    house.is_examined = False
    clients.append(house.ask()[1])
    stopped: list[None] = []
    house.pool.stop().addCallback(stopped.append)
    house.clock.advance(0)
    for client in clients:
        assert isinstance(client.error, ShuttingDown)
    assert house.cancelled_checks == 1
    assert waits.is_closed
    assert stopped == []
    for session in house.sessions:
        assert not session.is_killed
    house.pool.kill()
    assert all(session.is_killed for session in house.sessions)
    assert set(house.told.stopped) == {StopReason.NOT_REUSED, StopReason.SHUTDOWN}
    assert house.has_nothing()
    assert stopped == [None]


def test_question_after_the_stop_fails_and_after_a_start_does_not() -> None:
    house = House()
    house.pool.stop()
    client = house.ask()[1]
    house.clock.advance(0)
    assert isinstance(client.error, ShuttingDown)
    assert house.sessions == []
    house.pool.start()
    client = house.ask()[1]
    house.sessions[0].answer("a")
    assert client.text == "a"


def test_drain_lets_everyone_finish_who_was_there() -> None:
    house = House(processes=1)
    clients = [house.ask()[1], house.ask(FORMED)[1]]
    drained: list[None] = []
    house.pool.drain().addCallback(drained.append)
    late = house.ask()[1]
    house.clock.advance(0)
    assert isinstance(late.error, ShuttingDown)
    house.sessions[0].answer("a")
    house.reap()
    house.sessions[1].answer("{}")
    assert clients[0].text == "a"
    assert drained == []
    house.checks[0][2].callback(None)
    assert clients[1].text == "{}"
    assert drained == [None]
    assert house.has_nothing()


def test_nobody_waits_while_it_is_drained() -> None:
    house = House()
    session = waiting_session(house)
    house.ask(CALLING)
    drained: list[None] = []
    house.pool.drain().addCallback(drained.append)
    assert session.is_closed
    house.sessions[1].call()
    assert house.sessions[1].is_closed
    assert drained == [None]
    assert house.has_nothing()


def test_drain_that_is_given_up_does_not_end_the_questions() -> None:
    house = House()
    client = house.ask()[1]
    drained = house.pool.drain()
    drained.addErrback(lambda failure: failure.trap(CancelledError) and None)
    drained.cancel()
    house.sessions[0].answer("a")
    assert client.text == "a"


def test_census_counts_each_process_once() -> None:
    house = House(processes=3)
    waiting_session(house)
    house.ask()
    house.ask()[0].cancel()
    assert house.pool.session_counts() == {
        "answering": 1,
        "suspended": 1,
        "stopping": 1,
    }
    assert house.slots.taken == 3
