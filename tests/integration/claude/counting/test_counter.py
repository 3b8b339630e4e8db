"""Counts that wait for workers under the test's control."""

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from typing_extensions import override

from ccproxy.claude.counting.counter import PendingCount, TokenCounter
from ccproxy.claude.worker.commands import WorkerLost
from ccproxy.core.backend import TokenCount
from ccproxy.core.blocks import text_block
from ccproxy.core.errors import CCProxyError, ClaudeUnavailable, QueueFull
from ccproxy.core.messages import Message, MessagesRequest
from tests.support.fake_workers import PoolHouse


@define(eq=False)
class House(PoolHouse):
    counter: TokenCounter = field(init=False)

    @override
    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.counter = TokenCounter(self.pool, self.clock, self.told)

    def count(
        self,
        text: str = "hello",
        model: str = "opus",
        owner: str = "k1",
        *,
        uses_cli: bool = True,
        **fields: Any,
    ) -> "Deferred[TokenCount]":
        request = MessagesRequest(messages=(Message("user", text),), **fields)
        return Deferred.fromCoroutine(
            self.counter.count(request, model, owner, uses_cli=uses_cli)
        )


@pytest.fixture
def house() -> House:
    return House()


def outcome(counting: "Deferred[TokenCount]") -> Any:
    found: list[Any] = []
    counting.addBoth(found.append)
    [only] = found
    return getattr(only, "value", only)


EXACT = TokenCount(tokens=12, is_exact=True)


def test_a_text_is_counted_once(house: House) -> None:
    first = house.count()
    [worker] = house.workers
    assert (worker.texts, worker.system) == ([("hello", "opus")], "hello")
    worker.counted(12)
    assert outcome(first) == EXACT
    assert outcome(house.count()) == EXACT
    # Blocks are the same text, a system prompt is added to it.
    blocks = MessagesRequest(messages=(Message("user", (text_block("hello"),)),))
    again = house.counter.count(blocks, "opus", "k1", uses_cli=True)
    assert outcome(Deferred.fromCoroutine(again)) == EXACT
    assert len(worker.texts) == 1
    others: list[Any] = [{"model": "haiku"}, {"owner": "k2"}, {"text": "hello!"}]
    for other in others:
        counting = house.count(**other)
        worker.counted(13)
        assert outcome(counting) == TokenCount(tokens=13, is_exact=True)
    assert house.pool.session_counts()["idle"] == 1


def test_what_is_added_is_estimated(house: House) -> None:
    counting = house.count(system="be brief")
    [worker] = house.workers
    assert worker.texts == [("be brief\nhello", "opus")]
    worker.counted(20)
    assert outcome(counting) == TokenCount(tokens=24, is_exact=False)


def test_a_text_that_the_cli_changes_is_estimated(house: House) -> None:
    mark = "__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__"
    counting = house.count(f"a\n{mark}\nb")
    assert house.workers[0].texts == [(f"a\n`{mark}`\nb", "opus")]
    house.workers[0].counted(20)
    assert outcome(counting) == TokenCount(tokens=20, is_exact=False)


@pytest.mark.parametrize("ends", ["none", "lost"])
def test_without_a_count_of_the_providers(house: House, ends: str) -> None:
    counting = house.count()
    [worker] = house.workers
    if ends == "none":
        worker.counted(None)
    else:
        worker.die(WorkerLost("it died"))
    guess = TokenCount(tokens=5, is_exact=False)
    assert outcome(counting) == guess
    # It is not remembered.
    again = house.count()
    house.workers[-1].counted(12)
    assert outcome(again) == EXACT


def test_without_workers(house: House) -> None:
    assert outcome(house.count(uses_cli=False)) == TokenCount(tokens=5, is_exact=False)
    assert outcome(house.count("")) == TokenCount(tokens=4, is_exact=False)
    assert house.workers == []


def test_a_client_that_leaves(house: House) -> None:
    counting = house.count()
    [worker] = house.workers
    assert worker.state == "preparing"
    worker.is_opened()
    counting.addErrback(lambda _: None)
    counting.cancel()
    assert worker.state == "settling"
    worker.counted(12)
    assert worker.state == "ready"
    assert house.pool.session_counts()["idle"] == 1


def test_counts_leave_processes_for_answers() -> None:
    house = House(processes=8)
    counts = [house.count(str(n)) for n in range(30)]
    assert len(house.workers) == 2
    assert house.pool.queued == 28
    # An answer does not wait behind the counts.
    answer = PendingCount("x", "opus", house.pool, house.clock, house.told)
    answer.is_count = False
    house.pool.submit(answer)
    assert len(house.workers) == 3
    for worker in house.workers[:2]:
        worker.is_opened()
        worker.counted(1)
    assert [count.called for count in counts] == [True] * 2 + [False] * 28
    assert house.pool.queued == 26
    assert len(house.workers) == 3
    for count in counts[2:]:
        count.addErrback(lambda _: None)
        count.cancel()
    answer.cancel()


def test_a_client_that_leaves_the_queue(house: House) -> None:
    house = House(processes=8)
    counts = [house.count(str(n)) for n in range(3)]
    assert house.pool.queued == 1
    counts[2].addErrback(lambda _: None)
    counts[2].cancel()
    assert house.pool.queued == 0


def test_a_full_queue() -> None:
    house = House(processes=1, queue=1)
    waiting = [house.count(str(n)) for n in range(3)]
    house.clock.advance(0)
    assert isinstance(outcome(waiting[2]), QueueFull)
    house.clock.advance(60)
    house.clock.advance(0)
    assert isinstance(outcome(waiting[1]), QueueFull)
    house.workers[0].counted(1)
    assert outcome(waiting[0]).tokens == 1


@pytest.mark.parametrize("error", [ClaudeUnavailable("there is none")])
def test_no_cli(house: House, error: CCProxyError) -> None:
    house.refusal = error
    counting = house.count()
    house.clock.advance(0)
    assert outcome(counting) is error


def test_the_counts_that_are_remembered_are_bounded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccproxy.claude.counting.counter._MOST_COUNTS", 2)
    for text in ("a", "b", "a", "c"):
        house.count(text)
        house.workers[0].counted(1)
    asked = [text for text, _ in house.workers[0].texts]
    assert asked == ["a", "b", "c"]
    assert outcome(house.count("a")).tokens == 1
    house.count("b")
    assert [text for text, _ in house.workers[0].texts] == ["a", "b", "c", "b"]
