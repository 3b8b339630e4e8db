"""One question from its start to its end, with workers under the test's control."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from typing_extensions import override

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.completion.completion import Completion
from ccproxy.claude.completion.composer import ComposedQuestion
from ccproxy.claude.observer import Served
from ccproxy.claude.shaping.shaper import AskAgain, SchemaCheck
from ccproxy.claude.worker.commands import WorkerLost
from ccproxy.core.blocks import Block, text_block, thinking_block, tool_use_block
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    InvalidRequest,
    Overloaded,
    SchemaNotSatisfied,
    ShuttingDown,
)
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    MessageStart,
    TextDelta,
    UpstreamRetry,
    Usage,
)
from tests.conftest import ExpectedErrors
from tests.support.compositions import (
    BODY,
    FakeComposition,
    HoldingShaper,
    question,
)
from tests.support.fake_workers import FINISHED, FakeWorker, PoolHouse

STARTED = MessageStart("claude-x", id="msg_1")
RETRY = UpstreamRetry("overloaded", 1, 0.5)
BOUND = InvalidRequest(
    "messages.1.content.0: thinking is bound to a different conversation"
)


@define(eq=False)
class Client:
    """Keeps what it is told; acts when it is told something, if it is to."""

    events: list[Event] = field(factory=list)
    completion: Any = None
    cancels_at: type[Event] | None = None

    def receive(self, events: Sequence[Event]) -> None:
        self.events += events
        if self.cancels_at is not None and isinstance(events[-1], self.cancels_at):
            self.completion.cancel()

    @property
    def error(self) -> CCProxyError:
        end = self.events[-1]
        assert isinstance(end, Failed)
        return end.error


@define(eq=False)
class Checker:
    """Answers when the test says so."""

    asked: list[tuple[bytes, bytes]] = field(factory=list)
    waiters: "list[Deferred[str | None]]" = field(factory=list)
    cancelled: int = 0

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        self.asked.append((schema, instance))
        waiter: Deferred[str | None] = Deferred(self._cancel)
        self.waiters.append(waiter)
        return await waiter

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


@define(eq=False)
class House(PoolHouse):
    """Puts questions to its pool."""

    checker: Checker = field(factory=Checker)
    answers: RememberedAnswers = field(
        factory=lambda: RememberedAnswers(InMemoryAnswers(1_000_000, 100.0))
    )

    def ask(self, asked: ComposedQuestion | None = None, **about: Any) -> Client:
        client = Client(**about)
        completion = Completion(
            asked or question(),
            client,
            pool=self.pool,
            checker=self.checker,
            answers=self.answers,
            clock=self.clock,
            observer=self.told,
        )
        client.completion = completion
        self.pool.submit(completion)
        return client

    @property
    def worker(self) -> FakeWorker:
        """The one that was started last."""
        return self.workers[-1]


@pytest.fixture
def house() -> House:
    return House()


def shaped(*todo: SchemaCheck | AskAgain) -> tuple[ComposedQuestion, HoldingShaper]:
    shaper = HoldingShaper(list(todo))
    return question(shaper=lambda: shaper), shaper


# What is told


def test_an_answer_is_told_as_it_comes(house: House) -> None:
    client = house.ask()
    house.worker.say(STARTED)
    house.worker.say(TextDelta("a"), TextDelta("b"))
    house.worker.answer(TextDelta("c"))
    told = [STARTED, TextDelta("a"), TextDelta("b"), TextDelta("c"), FINISHED]
    assert client.events == told


def test_nobody_is_told_anything_from_within(house: House) -> None:
    house.refusal = Overloaded("no room")
    client = house.ask()
    assert client.events == []
    house.clock.advance(0)
    assert client.error.message == "no room"


def test_a_failure_that_is_cancelled_is_not_told(house: House) -> None:
    house.refusal = Overloaded("no room")
    client = house.ask()
    client.completion.cancel()
    house.clock.advance(0)
    assert client.events == []


def test_the_worker_is_free_before_the_end_is_told(house: House) -> None:
    free: list[int] = []

    class Looking(Client):
        @override
        def receive(self, events: Sequence[Event]) -> None:
            free.append(house.pool.session_counts()["answering"])

    completion = Completion(
        question(),
        Looking(),
        pool=house.pool,
        checker=house.checker,
        answers=house.answers,
        clock=house.clock,
        observer=house.told,
    )
    house.pool.submit(completion)
    house.worker.say(STARTED)
    house.worker.answer()
    assert free == [1, 0]


def test_a_client_that_gives_up_hears_nothing_more(house: House) -> None:
    client = house.ask(cancels_at=TextDelta)
    listener = house.worker
    listener.say(TextDelta("a"))
    assert house.worker.state == "settling"
    house.worker.settle()
    assert client.events == [TextDelta("a")]


def test_pause_reaches_the_worker_also_from_the_queue() -> None:
    house = House(processes=1)
    first = house.ask()
    second = house.ask()
    second.completion.pause()
    first.completion.pause()
    assert house.worker.is_paused
    first.completion.resume()
    assert not house.worker.is_paused
    first.completion.pause()
    house.worker.answer()
    # The second question has it now, and is paused as well.
    assert house.worker.is_paused
    second.completion.cancel()
    assert not house.worker.is_paused


# Workers that are lost


def test_a_lost_worker_is_replaced_as_long_as_nothing_was_told(house: House) -> None:
    client = house.ask(question("s"))
    house.worker.die()
    assert len(house.workers) == 2
    house.worker.answer(TextDelta("a"))
    assert client.events == [TextDelta("a"), FINISHED]
    assert [served for served, _ in house.told.served] == [Served.NEW]


def test_an_upstream_retry_is_nothing_of_the_answer(house: House) -> None:
    client = house.ask()
    house.worker.say(RETRY)
    house.worker.die()
    house.worker.answer()
    assert client.events == [RETRY, FINISHED]


def test_it_is_replaced_once(house: House) -> None:
    client = house.ask()
    house.worker.die()
    house.worker.die(WorkerLost("it died again"))
    assert client.error.message == "it died again"
    assert len(house.workers) == 2


def test_not_once_something_was_told(house: House) -> None:
    client = house.ask()
    house.worker.say(STARTED)
    house.worker.die()
    assert [type(e) for e in client.events] == [MessageStart, Failed]
    assert len(house.workers) == 1


def test_a_new_worker_is_preferred_then() -> None:
    house = House(processes=3)
    house.ask(question("s"))
    house.ask(question("s"))
    lost, idle = house.workers
    idle.answer()
    lost.die()
    assert (idle.state, house.worker.state) == ("ready", "preparing")


def test_but_not_waited_for() -> None:
    house = House(processes=2)
    house.ask(question("s"))
    house.ask(question("s"))
    lost, idle = house.workers
    idle.answer()
    lost.die()
    # The lost one's process still has its place.
    assert idle.state == "asking"
    assert len(house.workers) == 2


def test_it_waits_in_front_of_all_others() -> None:
    house = House(processes=1)
    first, second = house.ask(), house.ask()
    house.worker.die()
    house.workers[0].is_reaped()
    house.worker.answer(TextDelta("a"))
    assert first.events == [TextDelta("a"), FINISHED]
    house.worker.answer(TextDelta("b"))
    assert second.events == [TextDelta("b"), FINISHED]


@pytest.mark.parametrize("error", [ClaudeFailed("500"), Overloaded("529")])
def test_an_error_of_the_providers_is_not_the_workers(
    house: House, error: CCProxyError
) -> None:
    client = house.ask()
    house.worker.fail(error)
    assert client.events == [Failed(error)]
    assert house.worker.state == "ready"


# Thinking that belongs to another conversation


@pytest.mark.parametrize(
    "message",
    [
        BOUND.message,
        "The compiled grammar is too large",
    ],
)
def test_it_is_asked_once_more_without_what_is_refused(
    house: House, message: str
) -> None:
    plain = FakeComposition(
        body=evolve(BODY, json=b"{}"), adjusted=("a", "b"), ignored=("c", "d")
    )
    client = house.ask(question(plain=plain, adjusted=("a",), ignored=("c",)))
    assert client.completion.adjusted == client.completion.ignored == []
    house.worker.fail(InvalidRequest(message))
    assert house.worker.bodies[-1].json == b"{}"
    house.worker.answer()
    assert client.events == [FINISHED]
    assert (client.completion.adjusted, client.completion.ignored) == (["b"], ["d"])


def test_but_once_only(house: House) -> None:
    plain = FakeComposition(body=evolve(BODY, json=b"{}"))
    client = house.ask(question(plain=plain))
    house.worker.fail(BOUND)
    house.worker.fail(BOUND)
    assert "bound to a different" in client.error.message


def test_and_not_if_there_is_no_thinking(house: House) -> None:
    client = house.ask()
    house.worker.fail(BOUND)
    assert "bound to a different" in client.error.message
    assert house.worker.questions == 1


# Errors


def test_errors_name_the_clients_fields(house: House) -> None:
    paths = {"messages.1.content": "input[4].content"}
    composed: Any = FakeComposition(body=evolve(BODY, client_path=paths.get))
    asked = evolve(question(), composition=composed)
    client = house.ask(asked)
    house.worker.fail(
        InvalidRequest(
            "messages.1.content: must not be empty", param="messages.1.content"
        )
    )
    assert client.error.param == "input[4].content"
    assert client.error.message == "input[4].content: must not be empty"


def test_a_place_that_is_ours_is_not_named(house: House) -> None:
    client = house.ask()
    house.worker.fail(InvalidRequest("tools.3: is wrong", param="tools.3"))
    assert client.error.param is None


# Checks


CHECK = SchemaCheck(b'{"type":"object"}', b"{}")


def test_a_check_holds_the_end_back_and_frees_the_worker(house: House) -> None:
    asked, shaper = shaped(CHECK)
    client = house.ask(asked)
    house.worker.answer(TextDelta("{}"))
    assert client.events == [TextDelta("{}")]
    assert house.worker.state == "ready"
    assert house.checker.asked == [(CHECK.schema, CHECK.instance)]
    house.checker.waiters[0].callback(None)
    assert client.events == [TextDelta("{}"), FINISHED]
    assert shaper.problems == [None]


def test_after_a_check_it_may_be_asked_again_and_the_usage_is_the_sum(
    house: House,
) -> None:
    again = AskAgain(evolve(BODY, json=b'{"again":1}'))
    asked, shaper = shaped(CHECK, again)
    client = house.ask(asked)
    first = Finished("end_turn", Usage(input_tokens=1, output_tokens=2), cost_usd=0.5)
    house.worker.state = "settling"
    house.worker.listener.receive([first])
    house.worker.settle()
    house.checker.waiters[0].callback("it is wrong")
    assert shaper.problems == ["it is wrong"]
    assert house.worker.bodies[-1].json == b'{"again":1}'
    second = Finished("end_turn", Usage(input_tokens=10, output_tokens=20), cost_usd=1)
    house.worker.state = "settling"
    house.worker.listener.receive([second])
    assert client.events == [
        Finished("end_turn", Usage(input_tokens=11, output_tokens=22), cost_usd=1.5)
    ]


def test_without_a_check_it_may_be_asked_again_at_once() -> None:
    house = House(processes=1)
    asked, _ = shaped(AskAgain(evolve(BODY, json=b'{"again":1}')))
    client = house.ask(asked)
    other = house.ask()
    house.worker.answer(TextDelta("a"))
    # Before the other question.
    assert house.worker.bodies[-1].json == b'{"again":1}'
    house.worker.answer(TextDelta("b"))
    assert client.events == [TextDelta("a"), TextDelta("b"), FINISHED]
    house.worker.answer()
    assert other.events == [FINISHED]


def test_a_second_part_whose_worker_is_lost_is_asked_of_another(house: House) -> None:
    asked, _ = shaped(AskAgain(evolve(BODY, json=b'{"again":1}')))
    client = house.ask(asked)
    house.worker.answer()
    assert house.worker.questions == 2
    house.worker.die()
    assert len(house.workers) == 2
    assert house.worker.bodies[-1].json == b'{"again":1}'
    house.worker.answer(TextDelta("b"))
    assert client.events == [TextDelta("b"), FINISHED]


def test_a_client_that_gives_up_then_is_not_asked_for_again(house: House) -> None:
    asked, _ = shaped(AskAgain(BODY))
    house.ask(asked, cancels_at=TextDelta)
    house.worker.answer(TextDelta("a"))
    assert house.worker.questions == 1
    assert house.pool.session_counts()["idle"] == 1


def test_it_may_be_checked_once_more(house: House) -> None:
    asked, _ = shaped(CHECK, CHECK)
    client = house.ask(asked)
    house.worker.answer()
    house.checker.waiters[0].callback(None)
    assert client.events == []
    house.checker.waiters[1].callback(None)
    assert client.events == [FINISHED]


@pytest.mark.parametrize(
    "error", [SchemaNotSatisfied("it takes too long"), Overloaded("too many")]
)
def test_a_check_that_fails_ends_the_answer(house: House, error: CCProxyError) -> None:
    asked, _ = shaped(CHECK)
    client = house.ask(asked)
    house.worker.answer()
    house.checker.waiters[0].errback(error)
    assert client.error is error


def test_a_fault_in_the_checker_is_not_the_clients(
    house: House, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("could not be checked")
    asked, _ = shaped(CHECK)
    client = house.ask(asked)
    house.worker.answer()
    house.checker.waiters[0].errback(ValueError("secret"))
    assert client.error.status == 500
    assert "secret" not in client.error.message


def test_a_check_is_given_up_with_its_client(house: House) -> None:
    asked, _ = shaped(CHECK)
    client = house.ask(asked)
    house.worker.answer()
    client.completion.cancel()
    assert house.checker.cancelled == 1
    assert client.events == []
    assert house.pool.session_counts()["idle"] == 1


def test_a_client_that_gives_up_when_told_the_last_word_is_not_checked(
    house: House,
) -> None:
    asked, _ = shaped(CHECK)
    house.ask(asked, cancels_at=TextDelta)
    house.worker.answer(TextDelta("{}"))
    assert house.checker.asked == []


def test_drain_waits_for_checks_too(house: House) -> None:
    asked, _ = shaped(CHECK)
    client = house.ask(asked)
    house.worker.answer()
    drained: list[None] = []
    house.pool.drain().addCallback(drained.append)
    assert drained == []
    house.checker.waiters[0].callback(None)
    assert client.events == [FINISHED]
    assert drained == [None]


def test_stop_ends_checks_too(house: House) -> None:
    asked, _ = shaped(CHECK)
    client = house.ask(asked)
    house.worker.answer()
    house.pool.stop()
    house.clock.advance(0)
    assert isinstance(client.error, ShuttingDown)
    assert house.checker.cancelled == 1


def test_an_answer_may_be_ended_before_the_model_ends_it(house: House) -> None:
    class Cutting(HoldingShaper):
        @override
        def filter(self, events: Sequence[Event]) -> list[Event]:
            return [*events, Finished("stop_sequence")]

    client = house.ask(question(shaper=Cutting))
    house.worker.say(TextDelta("a"))
    assert client.events == [TextDelta("a"), Finished("stop_sequence")]
    assert house.worker.state == "settling"


def test_an_answer_without_end_is_a_fault_of_ours(
    house: House, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("has no end")

    class Swallowing(HoldingShaper):
        @override
        def filter(self, events: Sequence[Event]) -> list[Event]:
            return []

    client = house.ask(question(shaper=Swallowing))
    house.worker.answer()
    assert client.error.status == 500


# What is remembered


def message(*blocks: Block) -> list[Event]:
    events: list[Event] = [STARTED]
    for index, block in enumerate(blocks):
        events += [ContentBlockStart(block, index), ContentBlockStop(index)]
    return events


CALLED = Finished("tool_use")
BLOCKS = (
    thinking_block("hm", "signed"),
    text_block("Look."),
    tool_use_block("t1", "look", {"at": "sky"}),
)


def end(worker: FakeWorker, *events: Event) -> None:
    worker.state = "settling"
    worker.listener.receive(list(events))


@pytest.mark.parametrize(
    ("asked", "ended", "is_kept"),
    [
        (question(tools=True), CALLED, True),
        # A call is one whatever the provider says at the end.
        (question(tools=True), Finished("end_turn"), True),
        (question(tools=True), Finished("max_tokens"), False),
        (question(tools=True), Finished("refusal"), False),
        (question(tools=False), CALLED, False),
        (question(tools=True, is_remembered=False), CALLED, False),
    ],
)
def test_an_answer_with_calls_is_remembered_whole(
    house: House, asked: ComposedQuestion, ended: Finished, is_kept: bool
) -> None:
    house.ask(asked)
    end(house.worker, *message(*BLOCKS), ended)
    found = house.answers.of("key", 0.0).find(
        "prefix", BLOCKS[1:], "claude-x", is_bound=True
    )
    assert found == (BLOCKS if is_kept else None)


def test_what_a_lost_worker_has_begun_is_no_part_of_it(house: House) -> None:
    house.ask(question(tools=True))
    house.worker.say(RETRY)
    house.worker.die()
    end(house.worker, *message(*BLOCKS), CALLED)
    found = house.answers.of("key", 0.0).find(
        "prefix", BLOCKS[1:], "claude-x", is_bound=True
    )
    assert found == BLOCKS
