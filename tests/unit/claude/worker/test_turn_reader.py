"""The time limits of one turn; time moves only by `advance`."""

import pytest
from twisted.internet.task import Clock

from ccproxy.claude.worker.turn_reader import Deadlines
from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.errors import TimedOut

FIRST, SILENCE, TURN = 10.0, 5.0, 60.0


class Watch:
    """Deadlines on a clock, and what they said."""

    def __init__(
        self, first: float = FIRST, silence: float = SILENCE, turn: float = TURN
    ) -> None:
        self.clock = Clock()
        self.errors: list[TimedOut] = []
        limits = TurnTimeouts(
            first_token_timeout=first, silence_timeout=silence, turn_timeout=turn
        )
        self.deadlines = Deadlines(limits, self.clock, self.errors.append)

    def start(self) -> "Watch":
        self.deadlines.start()
        return self

    def talk(self) -> "Watch":
        """Start, and have the first token at once."""
        self.start().deadlines.token()
        return self

    @property
    def flags(self) -> list[str]:
        """The options that the errors name."""
        return [word for e in self.errors for word in _options(e.message)]

    @property
    def is_at_rest(self) -> bool:
        return self.clock.getDelayedCalls() == []


def _options(message: str) -> list[str]:
    return [word.strip("();,") for word in message.split() if "--" in word]


def test_nothing_is_watched_before_the_start() -> None:
    assert Watch().is_at_rest


def test_no_first_token_in_time() -> None:
    watch = Watch().start()
    watch.clock.advance(FIRST - 0.1)
    assert watch.errors == []
    watch.clock.advance(0.1)
    assert watch.flags == ["--first-token-timeout"]
    assert "10 s" in watch.errors[0].message


def test_a_first_token_in_time_is_enough() -> None:
    watch = Watch(first=10, silence=50).start()
    watch.clock.advance(9)
    watch.deadlines.token()
    watch.clock.advance(49)
    assert watch.errors == []


def test_silence_after_the_first_token() -> None:
    watch = Watch().talk()
    watch.clock.advance(SILENCE)
    assert watch.flags == ["--silence-timeout"]
    assert "5 s" in watch.errors[0].message


def test_each_token_ends_the_silence() -> None:
    watch = Watch().talk()
    for _ in range(5):
        watch.clock.advance(SILENCE - 1)
        watch.deadlines.token()
    assert watch.errors == []
    watch.clock.advance(SILENCE)
    assert watch.flags == ["--silence-timeout"]


def test_the_whole_may_take_too_long_though_it_goes_on() -> None:
    watch = Watch().talk()
    for _ in range(int(TURN)):
        watch.clock.advance(1)
        watch.deadlines.token()
    assert watch.flags == ["--turn-timeout"]
    assert "60 s" in watch.errors[0].message


@pytest.mark.parametrize("talks", [False, True])
def test_only_one_limit_is_told(talks: bool) -> None:
    watch = Watch().talk() if talks else Watch().start()
    watch.clock.advance(TURN * 3)
    assert len(watch.errors) == 1
    assert watch.is_at_rest


def test_a_stopped_watch_says_nothing() -> None:
    watch = Watch().talk()
    watch.deadlines.stop()
    assert watch.is_at_rest
    watch.clock.advance(TURN * 3)
    assert watch.errors == []


def test_stop_may_be_called_at_any_time() -> None:
    watch = Watch()
    watch.deadlines.stop()
    watch.start()
    watch.deadlines.stop()
    watch.deadlines.stop()
    assert watch.is_at_rest


@pytest.mark.parametrize("late", ["token", "waiting", "pause", "resume"])
@pytest.mark.parametrize("talks", [False, True])
def test_nothing_is_watched_after_the_stop(late: str, talks: bool) -> None:
    watch = Watch().talk() if talks else Watch().start()
    watch.deadlines.stop()
    getattr(watch.deadlines, late)()
    assert watch.is_at_rest


# Waiting for the provider.


def test_a_reason_to_wait_is_no_silence() -> None:
    watch = Watch().talk()
    watch.clock.advance(SILENCE - 1)
    watch.deadlines.waiting()
    watch.clock.advance(SILENCE - 1)
    assert watch.errors == []


def test_a_reason_to_wait_is_no_first_token() -> None:
    watch = Watch().start()
    watch.clock.advance(FIRST - 1)
    watch.deadlines.waiting()
    watch.clock.advance(1)
    assert watch.flags == ["--first-token-timeout"]


@pytest.mark.parametrize(
    ("delay_seconds", "can"), [(0.0, True), (9.9, True), (10.0, False), (100.0, False)]
)
def test_a_wait_must_end_before_the_first_token_is_due(
    delay_seconds: float, can: bool
) -> None:
    assert Watch().start().deadlines.can_wait(delay_seconds) is can


def test_a_wait_must_end_before_the_whole_is_due() -> None:
    watch = Watch(first=10, silence=50, turn=20).start()
    watch.clock.advance(5)
    watch.deadlines.token()
    assert watch.deadlines.can_wait(14.9)
    assert not watch.deadlines.can_wait(15.0)


def test_the_wait_counts_from_now() -> None:
    watch = Watch().start()
    watch.clock.advance(6)
    assert watch.deadlines.can_wait(3.9)
    assert not watch.deadlines.can_wait(4.0)


def test_in_silence_that_is_not_counted_only_the_whole_bounds_a_wait() -> None:
    watch = Watch().talk()
    watch.deadlines.pause()
    assert watch.deadlines.can_wait(TURN - 0.1)
    assert not watch.deadlines.can_wait(TURN)


# A client that does not read.


def test_a_paused_turn_is_not_silent() -> None:
    watch = Watch().talk()
    watch.deadlines.pause()
    watch.clock.advance(SILENCE * 3)
    assert watch.errors == []


def test_a_paused_turn_still_ends() -> None:
    watch = Watch().talk()
    watch.deadlines.pause()
    watch.clock.advance(TURN)
    assert watch.flags == ["--turn-timeout"]


def test_the_silence_begins_anew_when_the_client_reads_again() -> None:
    watch = Watch().talk()
    watch.clock.advance(SILENCE - 1)
    watch.deadlines.pause()
    watch.clock.advance(SILENCE)
    watch.deadlines.resume()
    watch.clock.advance(SILENCE - 1)
    assert watch.errors == []
    watch.clock.advance(1)
    assert watch.flags == ["--silence-timeout"]


def test_a_token_that_was_on_its_way_does_not_end_the_pause() -> None:
    watch = Watch().talk()
    watch.deadlines.pause()
    watch.deadlines.token()
    watch.clock.advance(SILENCE * 2)
    assert watch.errors == []


def test_a_first_token_that_was_on_its_way_does_not_end_the_pause() -> None:
    watch = Watch().start()
    watch.deadlines.pause()
    watch.deadlines.token()
    watch.clock.advance(SILENCE * 2)
    assert watch.errors == []


def test_pausing_twice_is_pausing_once() -> None:
    watch = Watch().talk()
    watch.deadlines.pause()
    watch.deadlines.pause()
    watch.deadlines.resume()
    watch.clock.advance(SILENCE)
    assert watch.flags == ["--silence-timeout"]


def test_reading_on_without_a_pause_prolongs_nothing() -> None:
    watch = Watch().talk()
    watch.clock.advance(SILENCE - 1)
    watch.deadlines.resume()
    watch.clock.advance(1)
    assert watch.flags == ["--silence-timeout"]


# The next turn of the same session.


def test_a_second_watch_waits_for_a_first_token_again() -> None:
    watch = Watch().talk()
    watch.deadlines.stop()
    watch.start()
    watch.clock.advance(FIRST)
    assert watch.flags == ["--first-token-timeout"]


def test_a_second_watch_tells_silence_from_no_token() -> None:
    watch = Watch().talk()
    watch.deadlines.stop()
    watch.talk()
    watch.clock.advance(SILENCE)
    assert watch.flags == ["--silence-timeout"]


def test_a_second_watch_does_not_take_a_wait_for_a_token() -> None:
    watch = Watch().talk()
    watch.deadlines.stop()
    watch.start()
    watch.clock.advance(FIRST - 1)
    watch.deadlines.waiting()
    watch.clock.advance(1)
    assert watch.flags == ["--first-token-timeout"]


def test_a_paused_turn_owes_no_first_token() -> None:
    watch = Watch().start()
    watch.clock.advance(FIRST - 1)
    watch.deadlines.pause()
    watch.clock.advance(FIRST * 2)
    assert watch.errors == []
    watch.deadlines.resume()
    watch.clock.advance(FIRST - 0.1)
    assert watch.errors == []
    watch.clock.advance(0.1)
    assert watch.flags == ["--first-token-timeout"]
