"""The pool: who is served when, with sessions under the test's control."""

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.claude.pool import Ask, Pool
from ccproxy.claude.waiting_room import WaitingLimits
from ccproxy.conversation import (
    Message,
    Prompt,
    Role,
    TextBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.errors import ClaudeFailed, ClaudeUnavailable, ShuttingDown
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)

PROMPT = Prompt(model="m", messages=(Message(Role.USER, (TextBlock("hello"),)),))
CALLING = evolve(PROMPT, tools=(Tool("look", None, {"type": "object"}),))
FINISHED = Finished(FinishReason.STOP, Usage())


@define(eq=False)
class FakeSession:
    """Does nothing; remembers what it was told."""

    listener: Any = None
    paused: bool = False
    is_suspended: bool = False
    results: Any = None
    lost: Any = None
    closed: "Deferred[None] | None" = None

    def ask(self, prompt: Prompt, listener: Any) -> None:
        self.listener = listener

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
class House:
    """A pool of two, and what became of it."""

    clock: Clock = field(factory=Clock)
    sessions: list[FakeSession] = field(factory=list)
    fail: ClaudeUnavailable | None = None
    pool: Pool = field(init=False)

    def __attrs_post_init__(self) -> None:
        new: Any = self._new
        limits = WaitingLimits(sessions=1, seconds=300.0)
        self.pool = Pool(new, self.clock, 2, limits)

    def _new(self, prompt: Prompt) -> FakeSession:
        if self.fail is not None:
            raise self.fail
        self.sessions.append(FakeSession())
        return self.sessions[-1]

    def ask(self) -> tuple[Ask, Heard]:
        heard = Heard()
        return self.pool.ask(PROMPT, heard), heard

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
    session.is_suspended = True
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
