"""The log of wrong API keys has a line a second for each peer, however many come."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from ccproxy.server.refused_keys import RefusedKeyLog

Lines = list[str]


@contextmanager
def logged() -> Iterator[Lines]:
    found: Lines = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observe)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with logged() as found:
        yield found


def test_first_at_once_and_the_rest_as_a_number(lines: Lines) -> None:
    clock = Clock()
    log = RefusedKeyLog(clock)
    for _ in range(5):
        log.key_refused("192.0.2.1")
    log.key_refused("192.0.2.2")
    assert lines == [
        "refused a request without a valid key from 192.0.2.1",
        "refused a request without a valid key from 192.0.2.2",
    ]
    clock.advance(1)
    assert lines[2:] == ["refused 4 more requests without a valid key from 192.0.2.1"]
    log.key_refused("192.0.2.1")
    log.key_refused("192.0.2.2")
    assert lines[3:] == ["refused a request without a valid key from 192.0.2.2"]
    clock.advance(1)
    assert lines[4:] == ["refused 1 more requests without a valid key from 192.0.2.1"]
    clock.advance(1)
    assert clock.getDelayedCalls() == []


def test_stop_reports_the_rest(lines: Lines) -> None:
    clock = Clock()
    log = RefusedKeyLog(clock)
    log.key_refused("192.0.2.1")
    log.key_refused("192.0.2.1")
    log.stop()
    log.stop()
    assert lines[1:] == ["refused 1 more requests without a valid key from 192.0.2.1"]
    assert clock.getDelayedCalls() == []


def test_peers_are_bounded(lines: Lines) -> None:
    clock = Clock()
    log = RefusedKeyLog(clock)
    for number in range(3000):
        log.key_refused(f"2001:db8::{number:x}")
    assert len(lines) == 1001
    assert lines[-1] == "refused a request without a valid key from other addresses"
    clock.advance(1)
    assert lines[1001:] == [
        "refused 1999 more requests without a valid key from other addresses"
    ]
    clock.advance(2)
    assert clock.getDelayedCalls() == []


@given(st.lists(st.sampled_from(["a", "b", 0.3, 0.7, 1.0]), max_size=40))
def test_every_refusal_is_counted_once(steps: list[str | float]) -> None:
    with logged() as lines:
        clock = Clock()
        log = RefusedKeyLog(clock)
        for step in steps:
            if isinstance(step, str):
                log.key_refused(step)
            else:
                clock.advance(step)
        log.stop()
    for peer in "ab":
        own = [line.split() for line in lines if line.endswith(f" {peer}")]
        counted = sum(int(words[1]) if words[1] != "a" else 1 for words in own)
        assert counted == steps.count(peer)
