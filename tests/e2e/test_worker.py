"""Workers with the real CLI: each end of an answer, and the next question."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
import pytest_twisted
from attrs import evolve, frozen
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from ccproxy.claude.worker.commands import WorkerLost
from ccproxy.claude.worker.worker import Worker
from ccproxy.core.errors import (
    Cause,
    CCProxyError,
    ClaudeFailed,
    InvalidRequest,
    ModelNotFound,
    NotLoggedIn,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    TimedOut,
)
from ccproxy.core.stream import Restarted, UpstreamRetry
from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.conftest import ExpectedErrors, Kept
from tests.support.log_texts import CLI_ENDED
from tests.support.server import Upstream, answer, start_upstream
from tests.support.waiting import until
from tests.support.workers import Heard, Workers, composed, heard

_REACTOR: Any = reactor

RETRIES = {"CLAUDE_CODE_MAX_RETRIES": "2"}
QUESTIONS = int(os.environ.get("CCPROXY_QUESTIONS", "25"))


@pytest.fixture(scope="module", autouse=True)
def shared() -> None:
    """No server is needed here."""


@pytest.fixture(scope="module")
def api() -> Iterator[Upstream]:
    # What a body has to be like is the composer's business.
    api = start_upstream(_REACTOR, strict=False)
    yield api
    pytest_twisted.blockon(Deferred.fromCoroutine(api.stop()))


@pytest.fixture
def upstream(api: Upstream) -> Upstream:
    api.reset()
    return api


@pytest.fixture
def workers(claude: Path, upstream: Upstream, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(claude, tmp_path, upstream.url, RETRIES)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.stop()))


@pytest.fixture(scope="module")
def lasting(
    claude: Path, api: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    made = Workers(claude, tmp_path_factory.mktemp("lasting"), api.url, RETRIES)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.stop()))


@pytest.fixture
def worker(lasting: Workers, upstream: Upstream) -> Worker:
    """A worker that has answered other tests' questions, or a new one in its place."""
    able = [worker for worker in lasting.started if not worker.is_gone]
    return able[0] if able else lasting.start()


@pytest.fixture(scope="module")
def kept(lasting: Workers) -> Callable[[], Kept]:
    """The lasting process, which is no leak."""

    def tell() -> Kept:
        able: list[Any] = [each for each in lasting.started if not each.is_gone]
        children = [worker._process.transport for worker in able]
        pipes = [pipe for child in children for pipe in child.pipes.values()]
        names = [os.readlink(f"/proc/self/fd/{pipe.fileno()}") for pipe in pipes]
        timers = [t for w in able for t in (w._timer, w._heartbeat._looking)]
        return Kept(timers, pipes, [child.pid for child in children], names)

    return tell


def slow(*blocks: ScriptedBlock, **fields: Any) -> Reply:
    """An answer that takes as long as a provider's."""
    return Reply(blocks=blocks, delay_seconds=0.015, **fields)


TEXT = words("one two three four five six seven eight")
BLANK = ScriptedBlock((" ",) * 8)
THINKING = ScriptedBlock(("hm", " hm") * 4, is_thinking=True)
CALL = ScriptedBlock(('{"ci', 'ty": "Pa', 'ris"}'), tool_use=("toolu_1", "Bash"))
# The arguments are no JSON.
CUT_CALL = ScriptedBlock(
    raw={"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}},
    raw_deltas=tuple(
        {"type": "input_json_delta", "partial_json": piece}
        for piece in ('{"a": "', "b", "c", "d", "e")
    ),
)


@frozen
class End:
    """What ends an answer, and what is to come of it."""

    reply: Reply
    said: str
    reason: str = "end_turn"
    calls: tuple[str, ...] = ()


SAID = "one two three four five six seven eight"
ENDS = {
    "end_turn": End(slow(TEXT), SAID),
    "stop_sequence": End(
        slow(TEXT, stop_reason="stop_sequence", stop_sequence="END"),
        SAID,
        "stop_sequence",
    ),
    "max_tokens": End(slow(TEXT, stop_reason="max_tokens"), SAID, "max_tokens"),
    "context window": End(
        slow(TEXT, stop_reason="model_context_window_exceeded"),
        SAID,
        "model_context_window_exceeded",
    ),
    "pause_turn": End(slow(TEXT, stop_reason="pause_turn"), SAID, "pause_turn"),
    "unknown": End(slow(TEXT, stop_reason="of_tomorrow"), SAID, "of_tomorrow"),
    "tool_use": End(
        slow(TEXT, CALL, stop_reason="tool_use"),
        SAID + '{"city": "Paris"}',
        "tool_use",
        ("Bash",),
    ),
    "a call that ends with end_turn": End(
        slow(CALL), '{"city": "Paris"}', "end_turn", ("Bash",)
    ),
    "a call cut by max_tokens": End(
        slow(CUT_CALL, stop_reason="max_tokens"),
        '{"a": "bcde',
        "max_tokens",
        ("Read",),
    ),
    "refusal": End(slow(TEXT, stop_reason="refusal"), SAID, "refusal"),
    "empty refusal": End(Reply(stop_reason="refusal"), "", "refusal"),
    "thinking alone": End(slow(THINKING), "hm hm" * 4),
    "blank": End(slow(BLANK), " " * 8),
    "empty": End(Reply(), ""),
    "a stop sequence at once": End(
        Reply(stop_reason="stop_sequence", stop_sequence="END"), "", "stop_sequence"
    ),
}
# An answer that is over before the CLI can be kept from asking again.
BURSTS = {
    "empty": ENDS["empty"],
    "a stop sequence at once": ENDS["a stop sequence at once"],
    "max_tokens": End(
        answer("one two", stop_reason="max_tokens"), "one two", "max_tokens"
    ),
    "thinking alone": End(
        Reply(blocks=(ScriptedBlock(("hm",), is_thinking=True),)), "hm"
    ),
}


async def limited(worker: Worker, upstream: Upstream, body: Any, reply: Reply) -> Heard:
    """Ask, and let the answer end when the CLI is sure to ask nothing by itself."""
    held: Deferred[None] = Deferred()
    pieces = sum(len(block.deltas) + len(block.raw_deltas) for block in reply.blocks)
    upstream.script(evolve(reply, hold_after=pieces, held=held))
    listener = Heard(worker=worker)
    worker.ask(body, listener)
    await until(lambda: worker._reader._guard.is_closed or listener.is_over)
    held.callback(None)
    await until(lambda: listener.is_over and (worker.is_ready or worker.is_gone))
    return listener


def is_right(end: End, told: Heard) -> None:
    assert told.finished.stop_reason == end.reason
    assert told.said == end.said
    assert told.finished.stop_sequence == end.reply.stop_sequence
    assert told.finished.usage.output_tokens == end.reply.output_tokens
    assert told.finished.usage.prompt_tokens == 16
    assert tuple(told.calls) == end.calls
    assert told.count() == 1


async def is_good(worker: Worker, upstream: Upstream) -> None:
    """The next question is right: body, system prompt, one request."""
    upstream.script(answer())
    number = len(upstream.bodies)
    text, system = f"question {number}", f"system prompt {number}"
    told = await heard(worker, composed(text, system, stop_sequences=[str(number)]))
    assert told.said == "one two three"
    assert told.finished.cost_usd is not None
    assert len(upstream.bodies) == number + 1
    body = upstream.bodies[-1]
    assert body["messages"] == [{"role": "user", "content": text}]
    assert [block["text"] for block in body["system"][2:]] == [system]
    assert body["stop_sequences"] == [str(number)]
    assert body["max_tokens"] == 1000


@pytest.mark.parametrize("name", ENDS)
@ensureDeferred
async def test_each_end_is_one_request_and_the_process_goes_on(
    worker: Worker, upstream: Upstream, name: str
) -> None:
    end = ENDS[name]
    for _ in range(2):
        number = len(upstream.bodies)
        is_right(
            end, await limited(worker, upstream, composed(system="any"), end.reply)
        )
        assert worker.is_ready
        assert len(upstream.bodies) == number + 1
    await is_good(worker, upstream)
    assert not worker.is_gone


@pytest.mark.parametrize("name", BURSTS)
@ensureDeferred
async def test_an_odd_end_in_a_burst_is_told_once(
    workers: Workers, upstream: Upstream, name: str
) -> None:
    """The CLI either was kept from asking again, or it is killed.

    In a burst its next request may be faster than the signal. That is one request at
    most, and nobody hears its answer.
    """
    end, worker = BURSTS[name], workers.start()
    upstream.replies(end.reply, answer("not asked for"))
    told = await heard(worker, composed())
    is_right(end, told)
    number = len(told.events)
    if worker.is_ready:
        assert len(upstream.bodies) == 1
        await is_good(worker, upstream)
        assert workers.lost == []
    else:
        assert told.was_gone
        assert workers.lost == [worker]
        await worker.close()
        await upstream.caught_up()
        assert len(upstream.bodies) <= 2
    assert len(told.events) == number


@pytest.mark.parametrize("status", [429, 500, 529])
@ensureDeferred
async def test_a_refusal_and_then_the_answer(
    worker: Worker, upstream: Upstream, status: int
) -> None:
    kinds = {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
    refused = Reply(status=status, error=(kinds[status], "not now"))
    upstream.replies(refused, answer())
    told = await heard(worker, composed("to be asked twice", "system"))
    assert told.said == "one two three"
    assert told.count(UpstreamRetry) == 1
    assert [body["messages"] for body in upstream.bodies] == [
        [{"role": "user", "content": "to be asked twice"}]
    ] * 2
    await is_good(worker, upstream)


@pytest.mark.parametrize("after", [0, 2])
@ensureDeferred
async def test_an_answer_that_is_cut_within_its_first_block_comes_again(
    worker: Worker, upstream: Upstream, after: int
) -> None:
    upstream.replies(slow(TEXT, cut_after=after), slow(TEXT))
    told = await heard(worker, composed("to be cut", "system"))
    assert told.said == SAID
    assert told.count(UpstreamRetry) == 1
    # The beginning may have been lost with the connection.
    assert told.count(Restarted) == 1 or (after == 0 and told.count() == 1)
    assert told.finished
    assert [body["messages"][0]["content"] for body in upstream.bodies] == [
        "to be cut",
        "to be cut",
    ]
    await is_good(worker, upstream)


@ensureDeferred
async def test_an_answer_that_is_cut_behind_a_block_fails(
    worker: Worker, upstream: Upstream
) -> None:
    """The CLI would have the model go on, in words of its own."""
    cut = slow(THINKING, TEXT, cut_after=16)
    told = await limited(worker, upstream, composed(system="any"), cut)
    assert isinstance(told.error, ClaudeFailed)
    assert "lost during the answer" in told.error.message
    assert len(upstream.bodies) == 1
    await is_good(worker, upstream)


@pytest.mark.parametrize("after", [0, 3])
@ensureDeferred
async def test_an_overload_in_mid_answer(
    worker: Worker, upstream: Upstream, after: int
) -> None:
    upstream.replies(slow(TEXT, overload_after=after), slow(TEXT))
    told = await heard(worker, composed(system="any"))
    if after == 0:
        assert told.said == SAID
        assert told.count(Restarted) == 1
        assert upstream.bodies[0]["messages"] == upstream.bodies[1]["messages"]
    else:
        assert isinstance(told.error, Overloaded)
        assert len(upstream.bodies) == 1
    await is_good(worker, upstream)


@ensureDeferred
async def test_a_400_has_the_providers_words_and_path(
    workers: Workers, upstream: Upstream
) -> None:
    said = "messages.0.content: it is not to my liking"
    upstream.script(Reply(status=400, error=("invalid_request_error", said)))
    worker = workers.start()
    told = await heard(worker, composed())
    assert isinstance(told.error, InvalidRequest)
    assert told.error.message == said
    assert told.error.param == "messages.0.content"
    # It gives up features that may have been at fault, for good.
    assert worker.is_gone
    assert told.was_gone
    assert 1 <= len(upstream.bodies) <= 4


@pytest.mark.parametrize(
    ("status", "kind", "error", "fewest"),
    [
        (401, "authentication_error", NotLoggedIn, 2),
        (403, "permission_error", NotLoggedIn, 1),
        (404, "not_found_error", ModelNotFound, 1),
        (413, "request_too_large", RequestTooLarge, 1),
        (429, "rate_limit_error", RateLimited, 3),
        (529, "overloaded_error", Overloaded, 3),
    ],
)
@ensureDeferred
async def test_a_refusal_that_stays(
    worker: Worker,
    upstream: Upstream,
    status: int,
    kind: str,
    error: type[CCProxyError],
    fewest: int,
) -> None:
    upstream.script(Reply(status=status, error=(kind, "no")))
    told = await heard(worker, composed(system="any"))
    assert isinstance(told.error, error), told.error
    assert not told.has_begun
    assert fewest <= len(upstream.bodies) <= 3
    await is_good(worker, upstream)


@pytest.mark.parametrize("when", [0, 1, 3])
@ensureDeferred
async def test_a_question_that_is_abandoned_is_forgotten(
    worker: Worker, upstream: Upstream, when: int
) -> None:
    await is_good(worker, upstream)
    held: Deferred[None] = Deferred()
    reply = slow(TEXT, hold_after=when, held=held)
    upstream.script(Reply(before=held) if when == 0 else reply)
    listener = Heard()
    worker.ask(composed("abandoned", "its system"), listener)
    number = len(upstream.bodies)
    await until(lambda: len(upstream.bodies) > number)
    if when:
        await until(lambda: listener.said)
    told = len(listener.events)
    worker.abandon()
    await until(lambda: worker.is_ready or worker.is_gone)
    assert len(listener.events) == told
    held.callback(None)
    assert worker.is_ready
    await is_good(worker, upstream)


@ensureDeferred
async def test_abandoned_before_it_was_asked(
    workers: Workers, upstream: Upstream
) -> None:
    worker, listener = workers.start(), Heard()
    worker.ask(composed("abandoned"), listener)
    worker.abandon()
    assert worker.is_starting
    assert (await heard(worker, composed("second"))).said == "one two three"
    worker.ask(composed("abandoned"), listener)
    assert worker.is_preparing
    worker.abandon()
    await until(lambda: worker.is_ready)
    await is_good(worker, upstream)
    said = [body["messages"][0]["content"] for body in upstream.bodies]
    assert said == ["second", "question 1"]
    assert listener.events == []
    assert len(workers.ready) == 3


@ensureDeferred
async def test_any_question_after_any_other(
    workers: Workers, upstream: Upstream
) -> None:
    """Questions of all kinds on one process, in an order of no meaning."""
    random = Random(13)
    worker = workers.start()
    models = ("sonnet", "opus", "haiku", "claude-haiku-4-5")
    for number in range(QUESTIONS):
        end = random.choice([*ENDS.values()])
        model = random.choice(models)
        body = composed(
            f"{number}: " + "x" * random.choice((1, 1, 1, 50_000)),
            random.choice(("one system prompt", f"system prompt {number}")),
            model=model,
            tools=[
                {
                    "name": f"tool_{number}",
                    "description": "d" * 5000,
                    "input_schema": {"type": "object"},
                }
            ],
        )
        is_right(end, await limited(worker, upstream, body, end.reply))
        assert worker.is_ready
        assert len(upstream.bodies) == number + 1
        went = upstream.bodies[-1]
        for name, value in json.loads(body.json).items():
            assert went[name] == value
        assert [block["text"] for block in went["system"][2:]] == [body.system]
    assert workers.lost == []
    assert worker.questions == QUESTIONS


@ensureDeferred
async def test_without_a_system_prompt_until_one_is_given(
    workers: Workers, upstream: Upstream
) -> None:
    worker = workers.start()
    await heard(worker, composed("first"))
    await heard(worker, composed("second"))
    assert [len(body["system"]) for body in upstream.bodies] == [2, 2]
    assert worker.system is None
    await is_good(worker, upstream)
    assert worker.system == "system prompt 2"
    assert not worker.can_ask("")
    assert worker.can_ask("another")


@pytest.mark.parametrize("operators", [None, "1h"])
@ensureDeferred
async def test_how_long_the_prompt_is_cached(
    workers: Workers, upstream: Upstream, operators: str | None
) -> None:
    """A question's own wish, and then what it was before."""
    if operators is not None:
        named = {"CLAUDE_CODE_PROMPT_CACHE_TTL": operators}
        workers.environment = {**workers.environment, **named}
    worker = workers.start()
    wishes: list[Literal["5m", "1h"] | None] = [None, "1h", None, "5m", None]
    for wish in wishes:
        await heard(worker, evolve(composed(system="system"), cache_ttl=wish))
    told = [body["system"][-1]["cache_control"].get("ttl") for body in upstream.bodies]
    assert told == [operators, "1h", operators, told[3], operators]
    assert told[3] in ("5m", None)


@ensureDeferred
async def test_warmed_up_without_a_request(
    workers: Workers, upstream: Upstream
) -> None:
    worker = workers.start()
    await worker.open()
    await worker.warm_up()
    await until(lambda: worker.is_ready)
    assert upstream.bodies == []
    assert upstream.api.counts == []
    assert (await heard(worker, composed("first"))).said == "one two three"
    assert len(upstream.bodies[0]["system"]) == 2
    await is_good(worker, upstream)
    assert workers.lost == []


@ensureDeferred
async def test_the_body_is_forgotten(workers: Workers, upstream: Upstream) -> None:
    worker = workers.start()
    secret = "cobalt-heron-4711"
    await heard(worker, composed(secret, f"{secret} is the word"))
    environ = Path(f"/proc/{worker.pid}/environ")
    assert secret.encode() not in environ.read_bytes()
    assert files_with(workers.folder, secret) == []
    await until(lambda: not worker._commands.has_body)
    told = await worker._controls.ask({"subtype": "get_settings"})
    assert b"CLAUDE_CODE_EXTRA_BODY" in bytes(told.response.response)
    assert secret.encode() not in bytes(told.response.response)
    await is_good(worker, upstream)


def children(pid: int) -> bytes:
    """The process ids of a process's children."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return b"".join((task / "children").read_bytes() for task in tasks)


@ensureDeferred
async def test_nobody_else_has_the_body_while_it_is_answered(
    workers: Workers, upstream: Upstream
) -> None:
    """It is in no file, no command line and no environment; there are no children."""
    worker, listener = workers.start(), Heard()
    secret = "cobalt-heron-4711"
    held: Deferred[None] = Deferred()
    upstream.script(slow(TEXT, hold_after=2, held=held))
    worker.ask(composed(secret, f"{secret} is the word", user=secret), listener)
    await until(lambda: listener.said)
    assert secret in json.dumps(upstream.bodies)
    # Some versions look at their machine in a child of a moment.
    pid = worker.pid
    assert pid is not None
    await until(lambda: not children(pid))
    for name in ("environ", "cmdline"):
        found = [read(entry) for entry in Path("/proc").glob(f"[0-9]*/{name}")]
        assert any(found)
        assert not any(secret.encode() in text for text in found)
    assert files_with(workers.folder, secret) == []
    held.callback(None)
    await until(lambda: listener.is_over)
    assert listener.finished


def files_with(folder: Path, text: str) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    return [path for path in found if text.encode() in read(path)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # The CLI writes a file beside, and renames it; a process may be gone.
        return b""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@ensureDeferred
async def test_hurt_while_idle(
    workers: Workers,
    upstream: Upstream,
    expected_errors: ExpectedErrors,
    number: signal.Signals,
) -> None:
    expected_errors.allow(CLI_ENDED)
    clock = Clock()
    worker = workers.start(clock=clock)
    await is_good(worker, upstream)
    assert worker.pid is not None
    os.kill(worker.pid, number)
    await until(lambda: not worker.can_ask("system"))
    clock.advance(5)
    assert workers.lost == [worker]
    await worker.close()
    assert left_by(workers) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@ensureDeferred
async def test_hurt_in_mid_answer(
    workers: Workers,
    upstream: Upstream,
    expected_errors: ExpectedErrors,
    number: signal.Signals,
) -> None:
    expected_errors.allow(CLI_ENDED)
    held: Deferred[None] = Deferred()
    upstream.script(slow(TEXT, hold_after=2, held=held))
    clock = Clock()
    worker, listener = workers.start(clock=clock), Heard()
    listener.worker = worker
    worker.ask(composed(), listener)
    await until(lambda: listener.said)
    assert worker.pid is not None
    os.kill(worker.pid, number)
    await until(lambda: worker.is_gone or worker._process.is_stopped)
    clock.advance(5)
    assert isinstance(listener.error, WorkerLost)
    assert listener.has_begun
    await until(lambda: worker.is_gone)
    assert workers.lost == [worker]
    await worker.close()
    held.callback(None)
    assert left_by(workers) == []


@pytest.mark.skipif(
    not os.environ.get("CCPROXY_SILENCE"),
    reason="takes 12 s: CCPROXY_SILENCE=1 runs it",
)
@ensureDeferred
async def test_a_provider_that_is_silent_is_not_one_that_works(
    workers: Workers, upstream: Upstream
) -> None:
    """The CLI ends an answer without a byte, and none with pings."""
    # The CLI takes no shorter time.
    workers.environment = {"CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "10000"}
    held: Deferred[None] = Deferred()

    def script(body: Mapping[str, Any]) -> Reply:
        works = body["messages"][0]["content"] == "works"
        return slow(CALL, stop_reason="tool_use", hold_after=1, held=held, pings=works)

    upstream.script(script)
    silent, works = Heard(), Heard()
    for text, listener in (("silent", silent), ("works", works)):
        worker = workers.start()
        await worker.open()
        worker.ask(composed(text), listener)
    await until(lambda: silent.is_over)
    assert isinstance(silent.error, TimedOut)
    assert silent.error.cause is Cause.PROVIDER_TIMEOUT
    await deferLater(_REACTOR, 2)
    assert not works.is_over
    held.callback(None)
    await until(lambda: works.is_over)
    assert works.finished.stop_reason == "tool_use"


def left_by(workers: Workers) -> list[Path]:
    """Sockets, and entries in the list of running sessions."""
    sessions = [*(workers.home / ".claude" / "sessions").glob("*")]
    return [*sessions, *(workers.folder / "scratch").glob("*")]


@ensureDeferred
async def test_stopped_just_before_it_is_asked(
    workers: Workers, upstream: Upstream
) -> None:
    worker = workers.start()
    await is_good(worker, upstream)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    told = await heard(worker, composed("not heard", "system"))
    assert isinstance(told.error, WorkerLost)
    assert not told.has_begun
    assert told.was_gone
    assert len(upstream.bodies) == 1


@ensureDeferred
async def test_what_a_process_leaves_goes_with_it(
    workers: Workers, upstream: Upstream, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("ended unexpectedly: signal SIGKILL")
    closed, killed = workers.start(), workers.start()
    for worker in (closed, killed):
        await is_good(worker, upstream)
    assert len(left_by(workers)) >= 4
    killed.kill()
    await closed.close()
    await killed.close()
    assert left_by(workers) == []


@ensureDeferred
async def test_megabytes(workers: Workers, upstream: Upstream) -> None:
    worker = workers.start()
    text = 'a "quoted" line\n' * 500_000
    told = await heard(worker, composed(text, "system"))
    assert told.said == "one two three"
    assert upstream.bodies[0]["messages"][0]["content"] == text
    await is_good(worker, upstream)
