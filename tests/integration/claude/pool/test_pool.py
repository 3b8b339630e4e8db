"""The pool: which worker answers which question, with workers of the test's."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.completion.completion import Completion
from ccproxy.claude.observer import Served, StopReason
from ccproxy.core.errors import (
    Cause,
    ClaudeUnavailable,
    ClaudeUnresponsive,
    InvalidRequest,
    QueueFull,
    ShuttingDown,
)
from ccproxy.core.stream import Event, Failed, TextDelta
from tests.conftest import ExpectedErrors
from tests.support.compositions import question
from tests.support.fake_workers import FINISHED, FakeWorker, PoolHouse
from tests.support.log_texts import FEWER_SPARES


@define(eq=False)
class Heard:
    """A client."""

    events: list[Event] = field(factory=list)

    def receive(self, events: Sequence[Event]) -> None:
        self.events += events

    @property
    def error(self) -> Exception:
        [failed] = self.events
        assert isinstance(failed, Failed)
        return failed.error


@define(eq=False)
class House(PoolHouse):
    """Puts questions to its pool."""

    def ask(self, system: str = "") -> tuple[Completion, Heard]:
        heard = Heard()
        completion = Completion(
            question(system),
            heard,
            pool=self.pool,
            checker=None,  # type: ignore[arg-type]
            answers=RememberedAnswers(InMemoryAnswers(0, 0)),
            clock=self.clock,
            observer=self.told,
        )
        self.pool.submit(completion)
        return completion, heard

    def answered(self, system: str = "") -> FakeWorker:
        """A worker that has answered a question with this system prompt."""
        before = [w.questions for w in self.workers]
        self.ask(system)
        [worker] = [
            w
            for w, asked in zip(self.workers, [*before, 0], strict=False)
            if w.questions > asked
        ]
        worker.answer()
        return worker

    @property
    def served(self) -> list[Served]:
        return [served for served, _ in self.told.served]


# Which worker


def test_first_come_first_served_within_the_limit() -> None:
    house = House()
    heard = [house.ask()[1] for _ in range(4)]
    assert len(house.workers) == 2
    house.workers[1].answer(TextDelta("b"))
    assert heard[1].events == [TextDelta("b"), FINISHED]
    # It is asked the next question as soon as it has settled.
    assert house.workers[1].questions == 2
    house.workers[1].answer(TextDelta("c"))
    assert heard[2].events == [TextDelta("c"), FINISHED]
    assert heard[3].events == []
    assert len(house.workers) == 2


def test_any_worker_answers_any_question() -> None:
    house = House(processes=1)
    for system in ("a", "b", "a", "c"):
        house.ask(system)
        house.workers[0].answer()
    assert [body.system for body in house.workers[0].bodies] == ["a", "b", "a", "c"]
    assert house.served == [Served.NEW, Served.IDLE, Served.IDLE, Served.IDLE]


def test_the_worker_that_has_the_system_prompt_is_preferred() -> None:
    house = House(processes=3)
    asked = [house.ask(system)[0] for system in ("a", "b", "c")]
    assert len(asked) == len(house.workers) == 3
    a, b, c = house.workers
    for worker in (a, b, c):
        worker.answer()
    for system, worker in (("b", b), ("a", a), ("c", c), ("b", b)):
        house.ask(system)
        assert worker.state == "asking"
        worker.answer()


def test_otherwise_the_one_that_was_used_longest_ago() -> None:
    house = House()
    house.ask("a")
    house.ask("b")
    a, b = house.workers
    b.answer()
    a.answer()
    house.ask("c")
    assert (a.state, b.state) == ("ready", "asking")


def test_a_worker_without_system_prompt_is_kept_for_questions_without() -> None:
    house = House(processes=3)
    house.ask()
    house.ask("a")
    pristine, used = house.workers
    used.answer()
    pristine.answer()
    house.ask("b")
    assert used.state == "asking"
    house.ask()
    assert pristine.state == "asking"
    assert len(house.workers) == 2


def test_but_it_serves_where_there_is_no_other() -> None:
    house = House()
    pristine = house.answered()
    house.ask("a")
    assert pristine.state == "asking"


def test_a_question_without_system_prompt_takes_no_worker_that_had_one() -> None:
    house = House()
    used = house.answered("a")
    house.ask()
    new = house.workers[1]
    assert (used.state, new.bodies[0].system) == ("ready", "")


def test_it_takes_the_place_of_one_if_there_is_no_room() -> None:
    house = House(processes=1)
    used = house.answered("a")
    house.ask()
    assert used.closed is not None
    assert house.told.stopped == [StopReason.ROOM]
    assert len(house.workers) == 1
    used.is_reaped()
    assert house.workers[1].state == "preparing"


def test_who_is_behind_may_overtake_who_has_the_promise_of_a_place() -> None:
    house = House()
    house.ask("a")
    house.ask("b")
    a, b = house.workers
    house.ask()
    _, heard = house.ask("a")
    # The first of the two cannot be asked for a question without system prompt.
    a.answer()
    assert a.closed is not None
    b.answer()
    assert b.bodies[-1].system == "a"
    b.answer(TextDelta("it"))
    assert heard.events == [TextDelta("it"), FINISHED]
    a.is_reaped()
    assert house.workers[2].bodies[0].system == ""


def test_a_spare_is_better_than_a_new_one() -> None:
    house = House(spares=1)
    house.pool.wake()
    house.clock.advance(0)
    [spare] = house.workers
    house.ask()
    assert house.served == [Served.SPARE]
    assert spare.questions == 1


def test_a_spare_is_warmed_up_and_waited_for_meanwhile() -> None:
    house = House(spares=1)
    house.pool.wake()
    house.clock.advance(0)
    [spare] = house.workers
    spare.is_opened()
    assert spare.state == "settling"
    house.ask()
    house.ask("a")
    # The second question is not promised the same place.
    assert [w.questions for w in house.workers] == [0, 1]
    spare.settle()
    assert spare.questions == 1


def test_a_spare_that_was_waited_for_is_replaced_while_it_answers() -> None:
    """The next client must not wait for the end of this answer."""
    house = House(processes=4, spares=1)
    house.pool.wake()
    house.clock.advance(0)
    [spare] = house.workers
    spare.is_opened()
    house.ask()
    house.clock.advance(1)
    assert house.workers == [spare]
    spare.settle()
    assert spare.questions == 1
    house.clock.advance(1)
    assert len(house.workers) == 2
    assert house.pool.session_counts()["spare"] == 1


def test_spares_are_replaced_in_a_quiet_moment() -> None:
    house = House(processes=4, spares=1)
    house.pool.wake()
    house.clock.advance(0)
    house.ask()
    assert len(house.workers) == 1
    house.clock.advance(0.3)
    # The question still waits for its worker.
    assert len(house.workers) == 1
    house.workers[0].is_opened()
    house.clock.advance(0.3)
    assert len(house.workers) == 2


def test_no_more_spares_than_wanted_nor_than_there_is_room_for() -> None:
    house = House(processes=2, spares=4)
    house.pool.wake()
    for _ in range(10):
        house.clock.advance(0.3)
    assert len(house.workers) == 2
    assert house.pool.session_counts()["spare"] == 2


def test_spares_that_end_by_themselves_are_tried_less_and_less(
    expected_errors: ExpectedErrors,
) -> None:
    expected_errors.allow(FEWER_SPARES)
    house = House(spares=1)
    house.pool.wake()
    house.clock.advance(0)
    starts = [house.clock.seconds()]
    for _ in range(4):
        house.workers[-1].die()
        house.workers[-1].is_reaped()
        before = len(house.workers)
        while len(house.workers) == before:
            house.clock.advance(0.5)
        starts.append(house.clock.seconds())
    pauses = [b - a for a, b in pairwise(starts)]
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_a_worker_that_settles_is_waited_for_but_not_for_long() -> None:
    house = House(spares=1)
    house.pool.wake()
    house.clock.advance(0)
    house.ask("a")
    used = house.workers[0]
    used.answer(settles=False)
    house.ask("b")
    assert len(house.workers) == 1
    used.settle()
    assert used.questions == 2
    used.answer(settles=False)
    house.ask("c")
    house.clock.advance(0.2)
    assert [w.bodies[-1].system for w in house.workers] == ["b", "c"]
    used.settle()
    house.workers[1].answer()
    assert house.pool.session_counts()["idle"] == 2


def test_only_one_question_waits_for_it() -> None:
    house = House(processes=3)
    house.ask("a")
    house.workers[0].answer(settles=False)
    house.ask("b")
    house.ask("c")
    # Nor does one that it could not be asked.
    house.ask()
    assert [w.questions for w in house.workers] == [1, 1, 1]
    house.workers[0].settle()
    assert [w.bodies[-1].system for w in house.workers] == ["b", "c", ""]


# Those that are of no use any more


def test_a_hung_worker_is_noticed_before_a_client_waits() -> None:
    house = House()
    hung = house.answered("a")
    hung.is_hung = True
    _, heard = house.ask("a")
    assert hung.is_killed
    assert hung.closed is not None
    house.workers[1].answer(TextDelta("b"))
    assert heard.events == [TextDelta("b"), FINISHED]
    assert house.told.stopped == [StopReason.LOST]


def test_so_is_a_hung_spare(expected_errors: ExpectedErrors) -> None:
    expected_errors.allow(FEWER_SPARES)
    house = House(spares=1)
    house.pool.wake()
    house.clock.advance(0)
    house.workers[0].is_hung = True
    house.ask("a")
    assert house.workers[0].is_killed
    assert house.workers[1].questions == 1


def test_an_idle_worker_that_dies_is_retired() -> None:
    house = House()
    worker = house.answered()
    worker.die()
    assert worker.closed is not None
    assert house.pool.session_counts()["idle"] == 0
    worker.is_reaped()
    assert house.slots.taken == 0


def test_an_idle_worker_is_kept_for_its_time() -> None:
    house = House()
    worker = house.answered()
    house.clock.advance(599)
    assert worker.closed is None
    house.clock.advance(2)
    assert house.told.stopped == [StopReason.IDLE]
    assert house.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("size", "questions"), [(1001, 1), (1, 500)])
def test_a_worn_worker_is_replaced(size: int, questions: int) -> None:
    house = House()
    house.ask("a")
    [worker] = house.workers
    worker.resident_bytes, worker.questions = size, questions
    worker.answer()
    assert house.told.stopped == [StopReason.WORN]


def test_a_worker_whose_client_goes_away_settles_and_is_used_again() -> None:
    house = House(processes=1)
    completion, heard = house.ask()
    [worker] = house.workers
    worker.say(TextDelta("a"))
    completion.cancel()
    completion.cancel()
    assert worker.state == "settling"
    _, second = house.ask()
    assert worker.questions == 1
    worker.settle()
    worker.answer(TextDelta("b"))
    assert heard.events == [TextDelta("a")]
    assert second.events == [TextDelta("b"), FINISHED]


def test_a_worker_whose_client_goes_away_while_it_starts_is_a_spare() -> None:
    house = House(processes=1)
    house.ask("a")[0].cancel()
    [worker] = house.workers
    assert house.pool.session_counts()["spare"] == 1
    _, heard = house.ask("b")
    worker.is_opened()
    worker.answer()
    assert heard.events == [FINISHED]
    assert house.served == [Served.NEW, Served.SPARE]


def test_a_worker_that_does_not_settle_is_replaced() -> None:
    house = House(processes=1)
    completion, _ = house.ask()
    [worker] = house.workers
    worker.say(TextDelta("a"))
    completion.cancel()
    _, heard = house.ask()
    worker.die()
    assert house.told.stopped == [StopReason.UNUSABLE]
    worker.is_reaped()
    house.workers[1].answer()
    assert heard.events == [FINISHED]


def test_workers_of_a_binary_that_was_replaced_end_when_they_are_idle() -> None:
    house = House(processes=3, spares=1)
    _, heard = house.ask()
    house.ask()
    busy, idle = house.workers
    busy.is_opened()
    idle.answer()
    house.clock.advance(1)
    spare = house.workers[2]
    house.update()
    assert house.told.stopped == [StopReason.OUTDATED] * 2
    assert (idle.state, spare.state, busy.state) == ("gone", "gone", "asking")
    busy.answer(TextDelta("whole"))
    assert heard.events == [TextDelta("whole"), FINISHED]
    assert house.told.stopped == [StopReason.OUTDATED] * 3
    for worker in (busy, idle, spare):
        worker.is_reaped()
    house.ask()
    assert house.workers[-1] not in (busy, idle, spare)


def test_an_old_worker_whose_client_disconnects_does_not_become_a_spare() -> None:
    house = House(processes=1, spares=1)
    completion, _ = house.ask()
    house.update()
    completion.cancel()
    assert house.told.stopped == [StopReason.OUTDATED]


def test_a_body_composed_before_an_update_is_sent_by_an_old_worker() -> None:
    """This happens if the new binary needs native mode."""
    house = House(processes=2)
    _, first = house.ask()
    house.allowed = False
    _, second = house.ask()
    house.refuses_more = ClaudeUnresponsive("replaced", cause=Cause.CLI_REPLACED)
    house.update()
    house.pool.use(is_used=False)
    [worker] = house.workers
    worker.answer()
    assert (first.events, second.events) == ([FINISHED], [])
    worker.answer()
    assert second.events == [FINISHED]
    assert house.told.stopped == [StopReason.NOT_REUSED]
    _, third = house.ask()
    house.clock.advance(0)
    assert "replaced" in str(third.error)


def test_it_is_told_whose_fault_it_was() -> None:
    house = House(processes=1)
    house.ask()
    house.workers[0].die()
    house.workers[0].is_reaped()
    # The provider's refusal has spoilt it.
    house.workers[1].is_opened()
    house.workers[1].die(InvalidRequest("no"))
    assert house.told.stopped == [StopReason.LOST, StopReason.UNUSABLE]


# The queue


def test_a_waiting_client_that_goes_away_leaves_the_queue() -> None:
    house = House()
    asks = [house.ask()[0] for _ in range(4)]
    asks[2].cancel()
    house.workers[0].answer()
    assert house.workers[0].questions == 2
    assert house.pool.queued == 0


def test_the_queue_is_full() -> None:
    house = House(processes=1, queue=1)
    heard = [house.ask()[1] for _ in range(3)]
    house.clock.advance(0)
    assert isinstance(heard[2].error, QueueFull)
    assert heard[2].error.retry_after_seconds is not None
    assert "1 requests are waiting already" in str(heard[2].error)
    assert heard[1].events == []


def test_who_only_waits_for_one_that_settles_is_not_counted() -> None:
    house = House(processes=1, queue=0)
    completion, _ = house.ask()
    house.workers[0].say(TextDelta("a"))
    completion.cancel()
    _, heard = house.ask()
    house.workers[0].settle()
    house.workers[0].answer()
    assert heard.events == [FINISHED]


def test_nobody_waits_for_ever() -> None:
    house = House(processes=1)
    house.ask()
    _, heard = house.ask()
    house.clock.advance(59)
    assert heard.events == []
    house.clock.advance(2)
    assert "within 60 s" in str(heard.error)


def test_retry_after_is_what_an_answer_takes() -> None:
    house = House(processes=1, queue=0)
    for _ in range(20):
        house.ask()
        house.clock.advance(10)
        house.workers[0].answer()
    house.ask()
    _, heard = house.ask()
    house.clock.advance(0)
    error = heard.error
    assert isinstance(error, QueueFull)
    assert error.retry_after_seconds is not None
    assert 9 < error.retry_after_seconds <= 20


def test_a_cli_that_cannot_start_fails_each_question_and_later_ones_work() -> None:
    house = House(refusal=ClaudeUnavailable("no CLI"))
    heard = [house.ask()[1] for _ in range(500)]
    assert heard[0].events == []
    house.clock.advance(0)
    assert {str(h.error) for h in heard} == {"no CLI"}
    house.refusal = None
    house.ask()
    assert len(house.workers) == 1


def test_nothing_is_started_while_the_binary_is_examined() -> None:
    house = House(spares=1, allowed=False)
    _, heard = house.ask()
    house.pool.wake()
    house.clock.advance(1)
    assert house.workers == []
    house.allowed = True
    house.pool.wake()
    house.workers[0].answer()
    assert heard.events == [FINISHED]


# Others that take slots


def test_an_idle_worker_makes_room_for_others() -> None:
    house = House(processes=1)
    worker = house.answered()
    freed: list[None] = []
    house.slots.watch(lambda: freed.append(None), lambda: False)
    assert house.slots.make_room()
    assert house.told.stopped == [StopReason.ROOM]
    assert not house.slots.make_room()
    worker.is_reaped()
    assert freed == [None]


def test_others_make_room_for_a_question() -> None:
    """As many of them as questions wait; what is going already counts."""
    house = House(processes=3)
    for _ in range(3):
        house.slots.take()
    asked: list[None] = []

    def make_room() -> bool:
        asked.append(None)
        house.slots.leave()
        return True

    house.slots.watch(lambda: None, make_room)
    heard = [house.ask()[1] for _ in range(2)]
    assert len(asked) == 2
    house.slots.give_back()
    house.slots.give_back()
    assert len(asked) == 2
    for worker, client in zip(house.workers, heard, strict=True):
        worker.answer()
        assert client.events == [FINISHED]


def test_a_worker_is_not_kept_where_others_wait() -> None:
    house = House(processes=1, native_waits=True)
    house.answered()
    assert house.told.stopped == [StopReason.ROOM]


def test_nothing_is_kept_for_questions_that_do_not_come_here() -> None:
    house = House(spares=1)
    idle = house.answered()
    house.pool.use(is_used=False)
    assert idle.closed is not None
    house.clock.advance(1)
    assert len(house.workers) == 1
    house.pool.use(is_used=True)
    house.clock.advance(0)
    assert len(house.workers) == 2


# The first look


def test_who_was_looked_at_becomes_a_spare() -> None:
    house = House(spares=1)
    look = Deferred.fromCoroutine(house.pool.discover())
    assert house.pool.session_counts()["spare"] == 1
    [worker] = house.workers
    worker.is_opened()
    assert look.called
    worker.settle()
    house.ask()
    assert house.served == [Served.SPARE]


def test_without_spares_it_is_kept_as_long_as_others() -> None:
    house = House()
    Deferred.fromCoroutine(house.pool.discover())
    house.workers[0].is_opened()
    assert house.pool.session_counts()["idle"] == 1
    house.ask()
    assert house.workers[0].questions == 1
    assert house.served == [Served.SPARE]


def test_one_that_does_not_answer_is_retired() -> None:
    house = House()
    look = Deferred.fromCoroutine(house.pool.discover())
    house.workers[0].die(ClaudeUnresponsive("broken"))
    failures: list[str] = []
    look.addErrback(lambda f: failures.append(f.getErrorMessage()))
    assert failures == ["broken"]
    house.workers[0].is_reaped()
    assert house.slots.taken == 0


# The end


def test_stop_fails_everyone_and_waits_for_every_process() -> None:
    house = House(spares=1)
    heard = [house.ask("a")[1] for _ in range(3)]
    stopped: list[None] = []
    house.pool.stop().addCallback(stopped.append)
    house.clock.advance(0)
    for client in heard:
        assert isinstance(client.error, ShuttingDown)
    house.workers[0].is_reaped()
    assert stopped == []
    house.workers[1].is_reaped()
    assert stopped == [None]
    assert house.clock.getDelayedCalls() == []
    _, late = house.ask()
    house.clock.advance(0)
    assert isinstance(late.error, ShuttingDown)
    house.pool.start()
    house.ask()
    assert len(house.workers) == 3


def test_stop_without_any_process_is_over_at_once() -> None:
    stopped: list[None] = []
    House().pool.stop().addCallback(stopped.append)
    assert stopped == [None]


def test_drain_answers_those_that_were_taken() -> None:
    house = House(processes=1)
    heard = [house.ask("a")[1] for _ in range(2)]
    drained: list[None] = []
    house.pool.drain().addCallback(drained.append)
    _, late = house.ask()
    house.clock.advance(0)
    assert isinstance(late.error, ShuttingDown)
    house.workers[0].answer()
    # It is kept for the one that waits.
    assert drained == []
    house.workers[0].answer()
    assert [h.events for h in heard] == [[FINISHED], [FINISHED]]
    assert drained == [None]
    assert house.told.stopped == [StopReason.SHUTDOWN]


def test_drain_that_is_given_up_lets_the_answers_go_on() -> None:
    house = House()
    _, heard = house.ask()
    drained = house.pool.drain()
    drained.addErrback(lambda _: None)
    drained.cancel()
    house.workers[0].answer()
    assert heard.events == [FINISHED]


def test_kill_lets_nothing_take_its_time() -> None:
    house = House()
    house.answered()
    house.pool.stop()
    house.pool.kill()
    assert house.workers[0].is_killed


def test_the_first_token_is_timed_and_by_whom() -> None:
    house = House(processes=1)
    house.ask()
    house.clock.advance(2)
    house.workers[0].say(TextDelta("a"))
    house.workers[0].answer()
    assert house.told.begun == [("", Served.NEW, 2.0)]
    house.ask()
    house.workers[0].answer()
    # Nothing was said.
    assert len(house.told.begun) == 1
