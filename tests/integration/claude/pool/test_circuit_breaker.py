"""CLIs that never answer are started less often, until one answers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.core.errors import ClaudeFailed, ClaudeUnresponsive
from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.support.log_texts import CLI_ENDED, CLI_UNUSABLE
from tests.support.server import RunningProxy
from tests.support.waiting import until

BROKEN = ClaudeFailed("it is broken")


@define(eq=False)
class House:
    clock: Clock = field(factory=Clock)
    probes: list["Deferred[None]"] = field(factory=list)
    circuit: CircuitBreaker = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.circuit = CircuitBreaker(self.clock)
        self.circuit.probe = self.probe

    def probe(self) -> "Deferred[None]":
        self.probes.append(Deferred())
        return self.probes[-1]

    def after_seconds(self) -> float:
        with pytest.raises(ClaudeUnresponsive) as caught:
            self.circuit.check()
        assert "it is broken" in caught.value.message
        assert caught.value.retry_after_seconds is not None
        return caught.value.retry_after_seconds


@pytest.fixture
def house(expected_errors: ExpectedErrors) -> House:
    expected_errors.allow("no claude CLI is started until")
    return House()


def test_only_so_many_in_a_row(house: House) -> None:
    for _ in range(2):
        house.circuit.record_failure(BROKEN)
        house.circuit.check()
    house.circuit.record_success()
    for _ in range(2):
        house.circuit.record_failure(BROKEN)
        house.circuit.check()
    house.circuit.record_failure(BROKEN)
    assert house.after_seconds() == 2
    assert not house.circuit.is_closed


def test_probes_come_less_and_less_often(house: House) -> None:
    for _ in range(3):
        house.circuit.record_failure(BROKEN)
    pauses = []
    for number in range(1, 9):
        pauses.append(house.after_seconds() - 1)
        house.clock.advance(pauses[-1] - 0.25)
        assert len(house.probes) == number - 1
        house.clock.advance(0.25)
        assert house.after_seconds() == 1
        house.circuit.record_failure(BROKEN)
        house.probes[-1].callback(None)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_first_answer_of_any_closes_it(house: House) -> None:
    for _ in range(3):
        house.circuit.record_failure(BROKEN)
    house.clock.advance(1)
    house.circuit.record_success()
    house.circuit.check()
    house.probes[0].callback(None)
    assert house.circuit.is_closed
    assert house.clock.getDelayedCalls() == []
    for _ in range(3):
        house.circuit.record_failure(BROKEN)
    assert house.after_seconds() == 2
    house.circuit.reset()
    assert house.clock.getDelayedCalls() == []


@ensureDeferred
async def test_cli_that_refuses_to_start_for_ten_tries(
    proxy: Callable[..., RunningProxy],
    fake: Callable[[str], FakeClaude],
    expected_errors: ExpectedErrors,
) -> None:
    for words in (CLI_ENDED, CLI_UNUSABLE, "is started until"):
        expected_errors.allow(words)
    claude = fake("broken")
    broken = Path(f"{claude.log}.broken")
    broken.touch()
    server = proxy(claude_bin=claude.binary)
    await server.ready()
    told = []
    for _ in range(10):
        response = await server.chat("hello")
        message = (await response.json())["error"]["message"]
        after = response.headers.getRawHeaders("retry-after")
        told.append((response.code, after is not None, "I am broken" in message))
        assert response.headers.getRawHeaders("x-should-retry") is None
    # The first is told what has become of its own CLIs.
    assert told == [(502, False, True)] + [(503, True, True)] * 9
    assert server.starts == 2
    assert (await server.get("/ready")).code == 503
    broken.unlink()
    backend = server.service._proxy.backend
    await until(lambda: backend._breaker.is_closed)
    assert (await server.get("/ready")).code == 200
    assert (await server.chat("hello")).code == 200
