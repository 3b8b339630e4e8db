"""The pool: who is served when, with sessions under the test's control."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.claude.pool import Ask, Pool
from ccproxy.claude.waiting_room import WaitingLimits
from ccproxy.conversation import Message, Prompt, Role, TextBlock
from ccproxy.errors import ClaudeUnavailable, ShuttingDown
from ccproxy.events import Event, Failed, Finished, FinishReason, TextDelta, Usage

PROMPT = Prompt(model="m", messages=(Message(Role.USER, (TextBlock("hello"),)),))
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


def test_question_after_the_stop_fails() -> None:
    house = House()
    house.pool.stop()
    heard = house.ask()[1]
    house.clock.advance(0)
    [event] = heard.events
    assert isinstance(event, Failed)
    assert house.sessions == []
