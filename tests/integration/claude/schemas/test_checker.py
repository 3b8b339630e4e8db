"""JSON Schemas compiled and checked in helper processes, which may be killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock

from ccproxy.claude.schemas.checker import CheckerLimits, SchemaChecker
from ccproxy.claude.schemas.helper_messages import (
    HelperAnswer,
    HelperOutcome,
    HelperRequest,
)
from ccproxy.claude.schemas.helper_process import HelperLimits, HelperState
from ccproxy.claude.schemas.text_limits import TextLimits
from ccproxy.core.errors import (
    InvalidRequest,
    Overloaded,
    SchemaNotSatisfied,
    ShuttingDown,
)
from tests.conftest import ExpectedErrors
from tests.support.waiting import until

_REACTOR: Any = reactor

GOOD = b'{"type": "object", "required": ["a"]}'
SLUGS = rb'{"pattern": "^([a-z0-9]+(-?[a-z0-9]+)*)+$"}'
SLUG = b'"the-body-is-the-clients-and-the-cli-the-transport_"'
# Compiles for half a minute and more.
RANGES = json.dumps({"properties": {"a": {"pattern": "[Ā-\uffff]" * 10_000}}}).encode()


def doubled(levels: int) -> bytes:
    """Each level has the next one twice."""
    defs: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    defs[f"d{levels}"] = {"type": "integer"}
    return json.dumps({"$defs": defs, "$ref": "#/$defs/d0"}).encode()


# Nothing is multiplied at one place, but each level of the instance doubles the work.
DEEP = b'{"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}'
NESTED = b'{"a":' * 40 + b"1" + b"}" * 40


@pytest.fixture
def make() -> Iterator[Callable[..., SchemaChecker]]:
    made: list[SchemaChecker] = []

    def start(clock: Any = _REACTOR, **limits: Any) -> SchemaChecker:
        checker = SchemaChecker(_REACTOR, clock, CheckerLimits(**limits))
        made.append(checker)
        return checker

    yield start
    for checker in made:
        pytest_twisted.blockon(Deferred.fromCoroutine(checker.close()))
        assert checker.helpers == {}


def begin(work: Any) -> "Deferred[Any]":
    return Deferred.fromCoroutine(work)


async def works(checker: SchemaChecker) -> None:
    await checker.compile(GOOD, "p")
    assert await checker.problem(GOOD, b'{"a": 1}') is None
    assert await checker.problem(GOOD, b"{}") == '`$` must have the property "a"'


@ensureDeferred
async def test_one_helper_is_started_and_kept(make: Callable[..., Any]) -> None:
    checker = make()
    assert checker.helpers == {}
    await works(checker)
    first = checker.helpers
    await works(checker)
    assert list(first.values()) == [HelperState.IDLE]
    assert checker.helpers == first


@pytest.mark.parametrize(
    ("schema", "param", "why"),
    [
        (
            b'{"properties": {"a": {"pattern": "a{99999999999}"}}}',
            "p.properties.a.pattern",
            "the repetition number is too large",
        ),
        (RANGES, "p", "compiling it takes longer than 1 seconds"),
        (doubled(18), "p.$ref", "multiply to more than 10000 subschemas"),
        (b'{"$ref": "#"}', "p", "form a cycle"),
        (b'{"$ref": "http://localhost/x"}', "p.$ref", "nothing is fetched"),
        (b'{"allOf": [{"type": "any"}]}', "p.allOf[0].type", '"any" is neither one of'),
        (b'{"a', "p", "it is not JSON"),
        (b"\xff", "p", "is not UTF-8"),
        (b'{"not":' * 251 + b"1" + b"}" * 251, "p", "nested more than 250 levels"),
    ],
)
@ensureDeferred
async def test_an_unusable_schema_is_refused(
    make: Callable[..., Any], schema: bytes, param: str, why: str
) -> None:
    checker = make()
    with pytest.raises(InvalidRequest, match=r"`p") as caught:
        await checker.compile(schema, "p")
    assert caught.value.param is not None
    assert caught.value.param.startswith(param)
    assert why in caught.value.message
    await works(checker)


@pytest.mark.parametrize(
    ("schema", "instance"), [(SLUGS, SLUG), (DEEP, NESTED), (RANGES, b'{"a": "x"}')]
)
@ensureDeferred
async def test_a_check_that_takes_too_long_is_an_error(
    make: Callable[..., Any], schema: bytes, instance: bytes
) -> None:
    checker = make()
    if schema is not RANGES:
        await checker.compile(schema, "p")
    with pytest.raises(SchemaNotSatisfied, match="takes longer than 1 seconds"):
        await checker.problem(schema, instance)
    await works(checker)


@ensureDeferred
async def test_a_check_that_takes_too_much_memory_is_an_error(
    make: Callable[..., Any],
) -> None:
    checker = make(
        helper=HelperLimits(memory_bytes=120_000_000),
        instance=TextLimits(size_bytes=10**8, depth=10, parts=10**7),
    )
    floats = b"[" + b"1.5," * 3_000_000 + b"1.5]"
    with pytest.raises(SchemaNotSatisfied, match="more than 114 MB of memory"):
        await checker.problem(GOOD, floats)
    await works(checker)


@ensureDeferred
async def test_answers_that_cannot_be_checked_are_reported(
    make: Callable[..., Any],
) -> None:
    checker = make()
    assert "it is not JSON" in str(await checker.problem(GOOD, b"Sorry."))
    assert "it is not UTF-8" in str(await checker.problem(GOOD, b"\xff"))
    with pytest.raises(SchemaNotSatisfied, match="too large"):
        await checker.problem(GOOD, b"[" * 501)
    with pytest.raises(SchemaNotSatisfied, match="cannot be checked: it is not JSON"):
        await checker.problem(b"{", b"1")
    recursive = (
        b'{"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}'
    )
    await checker.compile(recursive, "p")
    assert await checker.problem(recursive, b"[" * 500 + b"]" * 500) is None


@ensureDeferred
async def test_a_text_over_the_limits_starts_no_helper(
    make: Callable[..., Any],
) -> None:
    checker = make(schema=TextLimits(size_bytes=10, depth=10, parts=10))
    with pytest.raises(InvalidRequest, match="more than 10 bytes"):
        await checker.compile(GOOD, "p")
    assert checker.helpers == {}


@pytest.mark.parametrize("helpers", [1, 2])
@ensureDeferred
async def test_many_jobs_at_once_are_answered(
    make: Callable[..., Any], helpers: int
) -> None:
    checker = make(helpers=helpers)
    most = 0

    async def one(number: int) -> None:
        nonlocal most
        schema = json.dumps({"const": number}).encode()
        await checker.compile(schema, "p")
        assert await checker.problem(schema, b"%d" % number) is None
        wrong = await checker.problem(schema, b"%d" % (number + 1))
        assert wrong == f"`$` does not satisfy `const`: {number}"
        most = max(most, len(checker.helpers))

    await gatherResults([begin(one(number)) for number in range(30)])
    assert most == helpers


@ensureDeferred
async def test_a_schema_that_kills_its_helper_only_delays_other_jobs(
    make: Callable[..., Any],
) -> None:
    checker = make()
    bomb = begin(checker.problem(SLUGS, SLUG))
    others = [begin(works(checker)) for _ in range(5)]
    with pytest.raises(SchemaNotSatisfied):
        await bomb
    await gatherResults(others)


@ensureDeferred
async def test_a_full_queue_refuses_jobs(make: Callable[..., Any]) -> None:
    checker = make(waiting=2)
    waiting = [begin(checker.compile(GOOD, "p")) for _ in range(2)]
    with pytest.raises(Overloaded, match="too many"):
        await checker.compile(GOOD, "p")
    await gatherResults(waiting)


@ensureDeferred
async def test_a_cancelled_running_job_kills_its_helper(
    make: Callable[..., Any],
) -> None:
    checker = make(check_seconds=600)
    bomb = begin(checker.problem(SLUGS, SLUG))
    await until(lambda: HelperState.BUSY in checker.helpers.values())
    [pid] = checker.helpers
    other = begin(works(checker))
    bomb.cancel()
    with pytest.raises(CancelledError):
        await bomb
    await other
    assert pid not in checker.helpers


@ensureDeferred
async def test_a_cancelled_waiting_job_leaves_the_queue(
    make: Callable[..., Any],
) -> None:
    checker = make()
    waiting = [begin(checker.compile(GOOD, "p")) for _ in range(3)]
    waiting[1].cancel()
    with pytest.raises(CancelledError):
        await waiting[1]
    await gatherResults([waiting[0], waiting[2]])
    assert list(checker.helpers.values()) == [HelperState.IDLE]


@ensureDeferred
async def test_close_ends_all_jobs_and_helpers(make: Callable[..., Any]) -> None:
    checker = make(check_seconds=600)
    running = begin(checker.problem(SLUGS, SLUG))
    await until(lambda: HelperState.BUSY in checker.helpers.values())
    waiting = begin(checker.compile(GOOD, "p"))
    closed = [begin(checker.close()), begin(checker.close())]
    for job in (running, waiting):
        with pytest.raises(ShuttingDown):
            await job
    await gatherResults(closed)
    assert checker.helpers == {}
    with pytest.raises(ShuttingDown):
        await checker.compile(GOOD, "p")
    assert checker.helpers == {}


@ensureDeferred
async def test_close_while_a_helper_starts(make: Callable[..., Any]) -> None:
    checker = make()
    job = begin(checker.compile(GOOD, "p"))
    assert list(checker.helpers.values()) == [HelperState.STARTING]
    await checker.close()
    with pytest.raises(ShuttingDown):
        await job


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@ensureDeferred
async def test_a_helper_that_ends_or_stops_while_idle_is_replaced(
    make: Callable[..., Any], number: signal.Signals
) -> None:
    checker = make(helper=HelperLimits(begin_seconds=0.5))
    await works(checker)
    [pid] = checker.helpers
    os.kill(pid, number)
    # At once: nobody has learned of it yet.
    await works(checker)
    assert pid not in checker.helpers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@ensureDeferred
async def test_a_helper_that_ends_or_stops_while_it_starts_is_replaced(
    make: Callable[..., Any], number: signal.Signals
) -> None:
    checker = make(helper=HelperLimits(start_seconds=3))
    job = begin(works(checker))
    [pid] = checker.helpers
    os.kill(pid, number)
    await job
    assert pid not in checker.helpers


@ensureDeferred
async def test_a_job_whose_helper_is_killed_is_tried_twice(
    make: Callable[..., Any],
) -> None:
    checker = make(check_seconds=600)
    job = begin(checker.problem(SLUGS, SLUG))
    for _ in range(2):
        await until(lambda: HelperState.BUSY in checker.helpers.values())
        [pid] = (p for p, s in checker.helpers.items() if s is HelperState.BUSY)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: HelperState.BUSY not in checker.helpers.values())
    with pytest.raises(SchemaNotSatisfied, match="crashed"):
        await job
    await works(checker)


@ensureDeferred
async def test_a_job_whose_helper_is_stopped_runs_into_its_limit(
    make: Callable[..., Any],
) -> None:
    checker = make()
    job = begin(checker.problem(SLUGS, SLUG))
    await until(lambda: HelperState.BUSY in checker.helpers.values())
    [pid] = checker.helpers
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SchemaNotSatisfied, match="longer than 1 seconds"):
        await job
    await works(checker)
    assert pid not in checker.helpers


@ensureDeferred
async def test_an_idle_helper_is_killed(make: Callable[..., Any]) -> None:
    clock = Clock()
    checker = make(clock)
    await works(checker)
    clock.advance(299)
    assert list(checker.helpers.values()) == [HelperState.IDLE]
    await works(checker)
    clock.advance(299)
    assert list(checker.helpers.values()) == [HelperState.IDLE]
    clock.advance(1)
    await until(lambda: not checker.helpers)
    await works(checker)


@ensureDeferred
async def test_helpers_that_never_start_fail_all_jobs(
    expected_errors: ExpectedErrors,
) -> None:
    class Incomplete:
        def spawnProcess(self, protocol: Any, *_: Any, **options: Any) -> Any:
            code = "raise SystemExit('No module named rpds')"
            words = [sys.executable, "-S", "-c", code]
            return _REACTOR.spawnProcess(protocol, words[0], words, **options)

    expected_errors.allow("can be started: No module named rpds")
    incomplete: Any = Incomplete()
    checker = SchemaChecker(incomplete, _REACTOR)
    for _ in range(2):
        with pytest.raises(Overloaded, match="cannot start a process"):
            await checker.compile(GOOD, "p")
    await checker.close()
    assert checker.helpers == {}


@ensureDeferred
async def test_jobs_fail_if_no_process_can_be_started(
    expected_errors: ExpectedErrors,
) -> None:
    class Full:
        def spawnProcess(self, *args: Any, **options: Any) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

    expected_errors.allow("Resource temporarily unavailable")
    full: Any = Full()
    checker = SchemaChecker(full, _REACTOR)
    with pytest.raises(Overloaded, match="cannot start a process"):
        await checker.compile(GOOD, "p")
    await checker.close()


@ensureDeferred
async def test_the_helpers_environment_has_no_secret(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_API_KEY", "secret")
    checker = make()
    await works(checker)
    [pid] = checker.helpers
    environment = Path(f"/proc/{pid}/environ")
    if not environment.exists():
        pytest.skip("this system does not show a process's environment")
    names = {pair.split(b"=")[0] for pair in environment.read_bytes().split(b"\0")}
    assert names <= {b"PYTHONPATH", b"LD_LIBRARY_PATH", b"PYTHONHOME", b""}


def run_program(*requests: HelperRequest) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "ccproxy.claude.schemas.helper_main", str(2**29)],
        input=b"".join(msgspec.json.encode(one) + b"\n" for one in requests),
        capture_output=True,
        check=False,
    )


def test_the_helper_program_ends_with_its_input() -> None:
    ended = run_program(
        HelperRequest(GOOD.decode(), 1), HelperRequest(GOOD.decode(), 1, "{}")
    )
    answers = [
        msgspec.json.decode(a, type=HelperAnswer) for a in ended.stdout.splitlines()
    ]
    assert [answer.outcome for answer in answers] == [
        *(HelperOutcome.READY, HelperOutcome.BEGUN, HelperOutcome.VALID),
        *(HelperOutcome.BEGUN, HelperOutcome.INVALID),
    ]
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_the_helper_program_kills_itself_without_a_parent() -> None:
    ended = run_program(HelperRequest(SLUGS.decode(), 0.1, SLUG.decode()))
    assert ended.returncode == -signal.SIGALRM
