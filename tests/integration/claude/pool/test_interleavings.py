"""Pool, completions and workers under any order of events.

Real pool, completions, workers and processes' protocols, on imagined processes and a
clock of the test's. After each step: as many places as processes, none too many,
nobody waits where there is room, no question is lost, what goes upstream is what one
client has asked (its own system prompt with its own body), and each client has heard
what was said to its own question, once, with one end. ``CCPROXY_FUZZ=2000`` tries more
than the suite has time for.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from typing_extensions import override
from zope.interface import provider

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.completion.completion import Completion
from ccproxy.claude.completion.composer import ComposedQuestion
from ccproxy.claude.observer import ClaudeObserver
from ccproxy.claude.pool.pool import Pool
from ccproxy.claude.pool.processes import ProcessSlots
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.shaping.shaper import AskAgain, SchemaCheck
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker
from ccproxy.config.limits import PoolLimits, TurnTimeouts
from ccproxy.core.errors import CCProxyError, ClientError
from ccproxy.core.stream import Event, Failed, Finished, Restarted, TextDelta
from tests.conftest import ExpectedErrors
from tests.support.compositions import BODY, HoldingShaper, question
from tests.support.imagined_claude import ImaginedClaude, Upstream
from tests.support.imagined_process import ImaginedSpawner
from tests.support.log_texts import (
    CLI_ENDED,
    FEWER_SPARES,
    IGNORES_SIGTERM,
    NOISE,
    OWN_REQUEST,
)

TRIES = int(os.environ.get("CCPROXY_FUZZ", "40"))
STEPS = 60

MOST = 2

FAULTS: list[Any] = [
    b"this is not JSON",
    b'{"type":"result","subtyp',
    b'{"type":"result","subtype":5}',
    b"\xff\xfe",
    {"type": "result", "subtype": "success", "is_error": True, "result": "no"},
    {"type": "result", "subtype": "success", "num_turns": 0},
    {"type": "user", "message": {"role": "user", "content": "by itself"}},
    # What says nothing, or nothing to anybody.
    {"type": "keep_alive"},
    {"type": "control_request", "request_id": "c", "request": {"subtype": "new"}},
    {
        "type": "control_response",
        "response": {"subtype": "success", "request_id": "nobody's"},
    },
    {
        "type": "stream_event",
        "event": {"type": "content_block_stop", "index": 3},
        "parent_tool_use_id": None,
    },
    {
        "type": "stream_event",
        "event": {"type": "message_start", "message": {"id": "x", "model": "m"}},
        "parent_tool_use_id": None,
    },
]


@define(eq=False)
class Client:
    """Who asks, and what it has heard; ``bodies`` are what may go up for it."""

    question: ComposedQuestion
    bodies: set[str]
    completion: Any = None
    heard: list[Event] = field(factory=list)
    is_gone: bool = False
    is_within: bool = False

    def receive(self, events: Sequence[Event]) -> None:
        assert events
        assert not self.is_gone, "told something after it went away"
        assert not self.is_within, "told from within its own question"
        assert self.end is None, "told something after the end"
        self.heard += events
        assert not any(isinstance(e, Finished | Failed) for e in self.heard[:-1])

    @property
    def end(self) -> Finished | Failed | None:
        last = self.heard[-1] if self.heard else None
        return last if isinstance(last, Finished | Failed) else None

    @property
    def is_open(self) -> bool:
        return self.end is None and not self.is_gone

    @property
    def text(self) -> str:
        texts: list[str] = []
        for event in self.heard:
            match event:
                case TextDelta(text):
                    texts.append(text)
                case Restarted():
                    texts.clear()
        return "".join(texts)


@define(eq=False)
class Checker:
    """Answers when the test says so."""

    waiting: "list[Deferred[str | None]]" = field(factory=list)

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        waiter: Deferred[str | None] = Deferred(self.waiting.remove)
        self.waiting.append(waiter)
        return await waiter


@define(eq=False)
class Factory:
    """What the backend does for the pool; ``allowed`` is whether it may be."""

    _launch: LaunchSpec
    _context: CLIContext
    allowed: bool = True

    def is_allowed(self) -> bool:
        return self.allowed

    def is_current(self, worker: Worker) -> bool:
        return worker.launch is self._launch

    def update(self) -> None:
        self._launch = evolve(self._launch)

    def start(self, *, is_probe: bool = False) -> Worker:
        return Worker(self._launch, self._context)


class Interleavings(RuleBasedStateMachine):
    """One pool of two places, and whatever happens to it."""

    def __init__(self) -> None:
        super().__init__()
        words, self.numbers = count(1), count(1)
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.spawner = ImaginedSpawner(ImaginedClaude, lambda: f"w{next(words)} ")
        self.checker = Checker()
        self.clients: list[Client] = []
        # Each word with the request that it was said to.
        self.said: dict[str, Upstream] = {}
        self.is_stopped = False
        self.problems: list[LogEvent] = []
        launch = LaunchSpec(
            binary=Path(sys.executable),
            prefix=(),
            cwd=self.folder / "cwd",
            scratch=self.folder,
            environment={"HOME": str(self.folder)},
            model="m",
        )
        spawner: Any = self.spawner
        context = CLIContext(
            spawner=spawner,
            clock=self.clock,
            wall_seconds=lambda: 1.8e9,
            limits=TurnTimeouts(
                first_token_timeout=30.0, silence_timeout=20.0, turn_timeout=200.0
            ),
            on_initialized=lambda answer, _: None,
            on_start_failed=lambda error: None,
        )
        limits = PoolLimits(
            spares=1,
            idle_timeout=100.0,
            recycle_rss=2**30,
            max_queue=4,
            queue_timeout=60.0,
        )
        self.slots = ProcessSlots(MOST)
        self.factory = Factory(launch, context)
        factory: Any = self.factory
        self.pool: Any = Pool(factory, self.slots, limits, self.clock, ClaudeObserver())
        self.answers = RememberedAnswers(InMemoryAnswers(0, 0))

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_level") is LogLevel.critical:
                self.problems.append(event)

        self.observe = observe
        globalLogPublisher.addObserver(observe)
        self.pool.start()
        self.pool.wake()

    # The clients.

    @rule(
        system=st.sampled_from(["", "S", "T"]),
        todo=st.lists(st.sampled_from(["check", "again"]), max_size=2),
    )
    def ask(self, system: str, todo: list[str]) -> None:
        number = next(self.numbers)
        own = f"{system}{number}" if system else ""
        bodies = [f'{{"question":{number},"part":{part}}}' for part in range(3)]
        body = evolve(
            BODY, system=own, first_text=f"q{number}", json=bodies[0].encode()
        )
        parts = iter(bodies[1:])

        def step(name: str) -> SchemaCheck | AskAgain:
            if name == "check":
                return SchemaCheck(b"{}", b"{}")
            return AskAgain(evolve(body, json=next(parts).encode()))

        steps = [step(name) for name in todo]
        asked = question(shaper=lambda: HoldingShaper(list(steps)) if steps else None)
        asked = evolve(asked, composition=evolve(asked.composition, body=body))
        client = Client(asked, set(bodies), is_within=True)
        client.completion = Completion(
            asked,
            client,
            pool=self.pool,
            checker=self.checker,
            answers=self.answers,
            clock=self.clock,
            observer=ClaudeObserver(),
        )
        self.clients.append(client)
        self.pool.submit(client.completion)
        client.is_within = False

    def open_clients(self) -> list[Client]:
        return [c for c in self.clients if c.is_open]

    @precondition(lambda self: self.open_clients())
    @rule(data=st.data(), what=st.sampled_from(["cancel", "pause", "resume"]))
    def client_acts(self, data: st.DataObject, what: str) -> None:
        client = data.draw(st.sampled_from(self.open_clients()))
        client.is_gone = what == "cancel"
        getattr(client.completion, what)()

    # The processes.

    def told(self) -> list[ImaginedClaude]:
        return [c for c in self.spawner.living if c.inbox]

    @precondition(lambda self: self.told())
    @rule(data=st.data(), most=st.integers(1, 12))
    def cli_works(self, data: st.DataObject, most: int) -> None:
        cli = data.draw(st.sampled_from(self.told()))
        for _ in range(most):
            if cli.inbox:
                cli.step()

    @precondition(lambda self: self.told())
    @rule()
    def all_work(self) -> None:
        while self.told():
            self.told()[0].step()

    def answering(self) -> list[ImaginedClaude]:
        return [c for c in self.spawner.living if c.is_answering]

    @precondition(lambda self: self.answering())
    @rule(data=st.data())
    def cli_says(self, data: st.DataObject) -> None:
        cli = data.draw(st.sampled_from(self.answering()))
        assert cli.request is not None
        request = cli.request
        cli.say()
        self.said[cli.said[-1] if cli.said else ""] = request

    @precondition(lambda self: self.answering())
    @rule(
        data=st.data(),
        reason=st.sampled_from(["end_turn", "end_turn", "refusal", "max_tokens"]),
    )
    def cli_finishes(self, data: st.DataObject, reason: str) -> None:
        data.draw(st.sampled_from(self.answering())).finish(reason)

    @precondition(lambda self: self.answering())
    @rule(data=st.data(), status=st.sampled_from([400, 500, 529]))
    def provider_refuses(self, data: st.DataObject, status: int) -> None:
        cli = data.draw(st.sampled_from(self.answering()))
        if not cli.said:
            cli.fail(status)

    @precondition(lambda self: self.answering())
    @rule(data=st.data())
    def provider_is_asked_again(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.answering())).retry()

    @precondition(lambda self: self.spawner.living)
    @rule(data=st.data(), line=st.sampled_from(FAULTS))
    def cli_writes(self, data: st.DataObject, line: Any) -> None:
        data.draw(st.sampled_from(self.spawner.living)).write_out(line)

    @precondition(lambda self: self.spawner.living)
    @rule(data=st.data(), status=st.integers(0, 1))
    def cli_dies(self, data: st.DataObject, status: int) -> None:
        data.draw(st.sampled_from(self.spawner.living)).exit(status)

    def leaving(self) -> list[ImaginedClaude]:
        return [c for c in self.spawner.living if c.signals]

    @precondition(lambda self: self.leaving())
    @rule(data=st.data())
    def cli_is_reaped(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.leaving())).exit()

    @rule(error=st.sampled_from([None, BlockingIOError(11, "no"), OSError(24, "no")]))
    def machine_is_full(self, error: OSError | None) -> None:
        self.spawner.error = error

    # The rest of the world.

    @precondition(lambda self: self.checker.waiting)
    @rule(problem=st.sampled_from([None, "it is wrong"]))
    def answer_is_checked(self, problem: str | None) -> None:
        self.checker.waiting.pop(0).callback(problem)

    @rule(allowed=st.booleans())
    def binary_is_examined(self, allowed: bool) -> None:
        self.factory.allowed = allowed
        if allowed:
            self.pool.wake()

    @rule()
    def binary_is_replaced(self) -> None:
        self.factory.update()
        self.pool.wake()
        idle = (*self.pool._idle, *self.pool._spares)
        assert all(self.factory.is_current(worker) for worker in idle)

    @rule()
    def room_is_made_for_others(self) -> None:
        self.slots.make_room()

    @rule(seconds=st.sampled_from([0, 0, 0.2, 0.3, 1, 3, 6, 25, 61, 250]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: not self.is_stopped)
    @rule(gently=st.booleans())
    def stop(self, gently: bool) -> None:
        self.is_stopped = True
        if gently:
            self.pool.drain()
        else:
            self.pool.stop()

    @precondition(lambda self: self.is_stopped)
    @rule()
    def start_again(self) -> None:
        self.is_stopped = False
        self.pool.start()
        self.pool.wake()

    # What holds at any time.

    @invariant()
    def there_are_as_many_places_as_processes(self) -> None:
        states = sum(self.pool.session_counts().values())
        assert states == self.slots.taken == len(self.spawner.living) <= MOST

    @invariant()
    def nobody_waits_where_there_is_room(self) -> None:
        pool = self.pool
        if pool._queue and self.factory.allowed:
            soon = len(pool._settling) + pool._spares.warming
            assert self.slots.free == 0 or soon
            nobodys = len(pool._idle) + len(pool._spares) - pool._spares.warming
            assert pool._selector.leaving >= len(pool._queue) or not nobodys

    @invariant()
    def each_open_question_is_in_one_place(self) -> None:
        pool = self.pool
        for client in self.clients:
            completion = client.completion
            state = completion._state.name
            # What fails is told in a later turn.
            assert (state == "OVER") is (completion not in pool._clients)
            assert state == "OVER" or client.is_open
            assert (completion in pool._queue) is (state == "QUEUED")
            running = completion in pool._answering.values()
            assert running is (state == "RUNNING")

    @invariant()
    def what_goes_up_is_what_one_client_has_asked(self) -> None:
        asked = {
            Upstream(body.system, json, body.first_text)
            for client in self.clients
            for body in [client.question.composition.body]
            for json in client.bodies
        }
        for cli in self.spawner.processes:
            assert asked.issuperset(cli.requests)

    @invariant()
    def what_is_told_was_said_to_that_question_and_once(self) -> None:
        words = [word for c in self.clients for word in c.text.split()]
        assert len(set(words)) == len(words)
        for client in self.clients:
            for word in client.text.split():
                assert self.said[f"{word} "].body in client.bodies

    @invariant()
    def errors_are_of_our_making_and_nobody_elses_words(self) -> None:
        assert self.problems == []
        for client in self.clients:
            if isinstance(client.end, Failed):
                error = client.end.error
                assert isinstance(error, CCProxyError)
                if isinstance(error, ClientError):
                    # The provider's own.
                    assert "no" in error.message
                assert "a command to the claude CLI failed" not in error.message
                assert not any(word in error.message for word in self.said)

    @override
    def teardown(self) -> None:
        try:
            self._end()
        finally:
            globalLogPublisher.removeObserver(self.observe)
            shutil.rmtree(self.folder)

    def _end(self) -> None:
        """Stop, and see whether anything is left."""
        over: list[None] = []
        self.pool.stop().addCallback(over.append)
        self.clock.advance(0)
        assert self.open_clients() == []
        while self.spawner.living:
            assert over == []
            for cli in self.spawner.living:
                assert cli.signals
                cli.exit()
        assert over == [None]
        assert self.slots.taken == 0
        assert self.checker.waiting == []
        assert self.clock.getDelayedCalls() == []
        assert {*self.folder.iterdir()} <= {self.folder / "cwd"}
        assert self.problems == []


def test_any_order_of_things(expected_errors: ExpectedErrors) -> None:
    for words in (
        CLI_ENDED,
        IGNORES_SIGTERM,
        NOISE,
        FEWER_SPARES,
        OWN_REQUEST,
    ):
        expected_errors.allow(words)
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=TRIES,
            stateful_step_count=STEPS,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
