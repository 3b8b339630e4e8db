"""Requests with the same beginning wait for the first of them."""

from typing import Any, cast

from attrs import define, field
from twisted.internet.task import Clock

from ccproxy.claude.pool.prefix_gate import PrefixGate
from ccproxy.claude.pool.requests import PoolClient

WAIT, CACHED = 5.0, 300.0


@define(eq=False)
class House:
    """A gate, and the names of the requests that it has submitted."""

    seconds: float = WAIT
    clock: Clock = field(factory=Clock)
    sent: list[str] = field(factory=list)
    gate: PrefixGate = field(init=False)
    clients: dict[str, PoolClient] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        clock = cast(Any, self.clock)
        self.gate = PrefixGate(self._submitted, clock, self.seconds)

    def submit(self, name: str, *prefixes: str) -> None:
        self.clients[name] = cast(PoolClient, object())
        self.gate.submit(self.clients[name], prefixes, CACHED)

    def begun(self, name: str) -> None:
        self.gate.begun(self.clients[name])

    def left(self, name: str) -> None:
        self.gate.left(self.clients[name])

    def _submitted(self, client: PoolClient) -> None:
        self.sent += [n for n, other in self.clients.items() if other is client]


def test_the_others_go_when_the_first_answer_begins() -> None:
    house = House()
    for name in "abc":
        house.submit(name, f"{name} whole", "system")
    house.submit("other", "other system")
    assert (house.sent, house.gate.waiting) == (["a", "other"], 2)
    house.begun("a")
    assert (house.sent, house.gate.waiting) == (["a", "other", "b", "c"], 0)
    assert house.clock.getDelayedCalls() == []
    house.submit("d", "d whole", "system")
    assert house.sent[-1] == "d"


def test_what_is_cached_already_is_not_waited_for() -> None:
    house = House()
    house.submit("a", "talk 1", "system")
    house.begun("a")
    house.clock.advance(CACHED - 1)
    house.submit("b", "talk 1, again", "talk 1", "system")
    house.submit("c", "talk 1, again", "talk 1", "system")
    assert house.sent == ["a", "b"]
    house.submit("d", "talk 2", "system")
    assert house.sent == ["a", "b", "d"]
    house.begun("b")
    assert house.sent == ["a", "b", "d", "c"]


def test_what_the_cache_has_forgotten_is_written_anew() -> None:
    house = House()
    house.submit("a", "system")
    house.begun("a")
    house.clock.advance(CACHED)
    house.submit("b", "system")
    house.submit("c", "system")
    assert (house.sent, house.gate.waiting) == (["a", "b"], 1)


def test_the_next_one_writes_if_the_first_fails_or_is_cancelled() -> None:
    house = House()
    for name in "abc":
        house.submit(name, "system")
    house.left("a")
    assert (house.sent, house.gate.waiting) == (["a", "b"], 1)
    house.begun("b")
    assert house.sent == ["a", "b", "c"]


def test_a_waiting_request_that_is_cancelled_is_not_sent() -> None:
    house = House()
    for name in "ab":
        house.submit(name, "system")
    house.left("b")
    house.begun("a")
    assert house.sent == ["a"]
    assert house.clock.getDelayedCalls() == []


def test_none_waits_longer_than_the_limit() -> None:
    house = House()
    house.submit("a", "system")
    house.clock.advance(1)
    house.submit("b", "system")
    house.clock.advance(WAIT - 0.1)
    assert house.sent == ["a"]
    house.clock.advance(0.1)
    assert house.sent == ["a", "b"]
    # The end of the first one is the end of the first one only.
    house.left("a")
    house.begun("b")
    assert house.sent == ["a", "b"]


def test_a_limit_of_nothing_lets_all_go() -> None:
    house = House(seconds=0.0)
    for name in "ab":
        house.submit(name, "system")
    assert house.sent == ["a", "b"]


def test_the_end_of_the_server_releases_all() -> None:
    house = House()
    for name in "abc":
        house.submit(name, "system")
    house.gate.release()
    assert (house.sent, house.gate.waiting) == (["a", "b", "c"], 0)
