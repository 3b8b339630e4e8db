"""The activity of a server for the dashboard, and the remedies of errors."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from attrs import define, evolve, field

from ccproxy.api.admin.activity import REMEDIES, ActivityTracker
from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import MessageStart, TextDelta, ThinkingDelta, UpstreamRetry
from ccproxy.core.usage import RateWindow
from ccproxy.web.observer import AnswerStats, RequestOutcome

WALL = 1_700_000_000.0


class House:
    """What is looked at."""

    queued = 0
    windows: Sequence[RateWindow] = ()

    def session_counts(self) -> Mapping[str, int]:
        return {"idle": 1}


@define(eq=False)
class Asked:
    """A request that is under way."""

    id: str
    route: str = "POST /chat/completions"
    is_quiet: bool = False
    key: str = "-"
    client: str = "curl"
    stats: AnswerStats = field(factory=lambda: AnswerStats(lambda: 0.0))


def end(number: int, route: str = "POST /responses", **fields: Any) -> RequestOutcome:
    told = RequestOutcome(
        id=f"req_{number}",
        route=route,
        status=200,
        finish="stop",
        is_error=False,
        model="m",
        usage=None,
        cost_usd=None,
        seconds=1.0,
        answering_seconds=None,
        key="-",
        client="curl",
    )
    return evolve(told, **fields)


def new_tracker() -> ActivityTracker:
    return ActivityTracker(House(), "1", lambda: WALL)


def test_only_so_many_are_shown_and_the_others_counted() -> None:
    own, asked = new_tracker(), [Asked(f"req_{number}") for number in range(130)]
    for request in asked:
        own.request_began(request)
    activity = own.activity()
    assert [request.id for request in activity.active] == [r.id for r in asked[:100]]
    assert activity.more == 30
    for request in asked:
        own.request_left(request)
    assert (own.activity().active, own.activity().more) == ((), 0)


def test_only_the_last_are_remembered_and_each_is_told_once() -> None:
    own = new_tracker()
    for number in range(500):
        own.request_ended(end(number))
    told = own.ended(0)
    assert [e.id for e in told] == [f"req_{number}" for number in range(300, 500)]
    assert own.ended(told[-1].number) == []
    own.request_ended(end(500))
    assert [e.id for e in own.ended(told[-1].number)] == ["req_500"]


def test_household_is_told_of_only_where_it_fails() -> None:
    own = new_tracker()
    own.request_began(Asked("req_1", route="GET /usage", is_quiet=True))
    own.request_ended(end(1, "GET /usage", is_quiet=True))
    own.request_ended(end(2, "GET /usage", is_quiet=True, status=401, is_error=True))
    own.request_ended(end(3, is_quiet=True, status=499, finish="client_gone"))
    assert own.activity().active == ()
    assert [(e.id, e.is_error) for e in own.ended(0)] == [("req_2", True)]


def codes(family: type[CCProxyError]) -> Iterator[str]:
    yield family.code
    for member in family.__subclasses__():
        yield from codes(member)


def test_there_is_a_remedy_for_every_error() -> None:
    assert set(REMEDIES) == {*codes(CCProxyError)}
    assert all(len(text) > 20 for text in REMEDIES.values())


def test_receipt_knows_when_the_first_token_came() -> None:
    ticks = count()
    stats = AnswerStats(lambda: float(next(ticks)))
    stats.receive([UpstreamRetry("overloaded", 1, 0.5), MessageStart("m")])
    assert stats.model == "m"
    assert stats.answering_seconds is None
    stats.receive([ThinkingDelta("hm")])
    stats.receive([TextDelta("x")])
    assert stats.answering_seconds == 1
