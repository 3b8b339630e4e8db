"""The native pool and its sessions under any order of events.

Real pool, real sessions and processes' protocols, on imagined processes and a clock of
the test's. After each step: as many places as processes, none too many, nobody waits
where there is room, and each client has heard what its CLI has said, once, with one
end. ``CCPROXY_FUZZ=2000`` tries more than the suite has time for.
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

from ccproxy.claude.native.completion import NativeCompletion
from ccproxy.claude.native.pool import NativePool
from ccproxy.claude.native.prompt import (
    NativeQuestion,
    Prompt,
    PromptMessage,
    PromptTool,
    Role,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.claude.native.session import Session
from ccproxy.claude.observer import ClaudeObserver
from ccproxy.claude.pool.processes import ProcessSlots
from ccproxy.claude.pool.requests import RequestQueue
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.errors import CCProxyError, ClientError
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Failed,
    Finished,
    Restarted,
    TextDelta,
)
from tests.conftest import ExpectedErrors
from tests.support.imagined_native import ImaginedCLI, Said
from tests.support.imagined_process import ImaginedSpawner
from tests.support.log_texts import CLI_ENDED, IGNORES_SIGTERM, NOISE, RESULTS_UNREAD

TRIES = int(os.environ.get("CCPROXY_FUZZ", "40"))
STEPS = 60

MOST = 2
LOOK = PromptTool("look", None, {"type": "object"})

# What a CLI does next, if it can; else it ends its answer.
WAYS = ("say", "use own", "call", "finish")
# Mostly what leads somewhere.
SCRIPTS = st.sampled_from(
    [
        ["say", "use own", "say", "call"],
        ["say", "use own", "say", "call", "say"],
        ["say", "say", "finish"],
        ["say", "use own", "say", "finish"],
        ["say", "call"],
    ]
) | st.lists(st.sampled_from(WAYS), max_size=5)
RARELY = st.sampled_from([False, False, False, True])

FAULTS: list[Any] = [
    b"this is not JSON",
    b'{"type":"result","subtyp',
    b'{"type":"result","subtype":5}',
    b"\xff\xfe",
    {"type": "result", "subtype": "success", "is_error": True, "result": "no"},
    # An acknowledgement of nothing, and a turn of the CLI's own.
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
]


def said_by(message: PromptMessage) -> Said:
    """A turn as the imagined CLI notes it."""
    told: list[tuple[str, str]] = []
    for block in message.content:
        match block:
            case TextBlock(text):
                told.append(("text", text))
            case ToolUseBlock(identifier):
                told.append(("tool_use", identifier))
            case ToolResultBlock(identifier):
                told.append(("tool_result", identifier))
    return message.role.value, tuple(told)


@define(eq=False)
class Client:
    """Who asks, and what it has heard."""

    prompt: Prompt
    ask: NativeCompletion | None = None
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

    @property
    def conversation(self) -> tuple[PromptMessage, ...]:
        """The turns up to and with the answer; as OpenAI's clients keep them."""
        told = [e.block for e in self.heard if isinstance(e, ContentBlockStart)]
        values: list[Any] = [block.value for block in told if block.type == "tool_use"]
        blocks = [ToolUseBlock(value.id, value.name, {}) for value in values]
        answer = PromptMessage(Role.ASSISTANT, (TextBlock(self.text), *blocks))
        return (*self.prompt.messages, answer)


@define(eq=False)
class Factory:
    """What the backend does for the pool."""

    _launch: LaunchSpec
    _context: CLIContext
    _settings: NativeSettings

    def is_allowed(self) -> bool:
        return True

    def launch(self, without: frozenset[str]) -> LaunchSpec:
        return self._launch

    def start(self, launch: LaunchSpec) -> Session:
        return Session(launch, self._context, self._settings)


class Interleavings(RuleBasedStateMachine):
    """One pool of two places, and whatever happens to it."""

    def __init__(self) -> None:
        super().__init__()
        words, self.numbers = count(1), count(1)
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.spawner = ImaginedSpawner(ImaginedCLI, lambda: f"w{next(words)} ")
        self.clients: list[Client] = []
        self.questions: set[tuple[Said, ...]] = set()
        self.complete: set[str] = set()
        self.checks: list[Deferred[str | None]] = []
        self.is_stopped = False
        self.problems: list[LogEvent] = []
        launch = LaunchSpec(
            binary=Path(sys.executable),
            prefix=(),
            cwd=self.folder / "cwd",
            scratch=self.folder,
            environment={},
            model="m",
            agent_tools=("Read",),
        )
        spawner: Any = self.spawner
        context = CLIContext(
            spawner=spawner,
            clock=self.clock,
            wall_seconds=lambda: 1.8e9,
            limits=TurnTimeouts(
                first_token_timeout=30.0, silence_timeout=20.0, turn_timeout=200.0
            ),
        )
        self.slots = ProcessSlots(MOST)
        queue: RequestQueue[NativeCompletion] = RequestQueue(4, 60.0, MOST)
        settings = NativeSettings(max_suspended=1, suspended_timeout=50.0)
        factory: Any = Factory(launch, context, settings)
        self.pool = NativePool(
            factory,
            self.clock,
            settings,
            self.slots,
            queue,
            self,
            ClaudeObserver(),
        )

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_level") is LogLevel.critical:
                self.problems.append(event)

        self.observe = observe
        globalLogPublisher.addObserver(observe)
        self.pool.start()

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        """Check an answer; done when `check_ends` says so."""
        outcome: Deferred[str | None] = Deferred(lambda d: self.checks.remove(d))
        self.checks.append(outcome)
        return await outcome

    # The clients.

    def put(self, prompt: Prompt) -> None:
        client = Client(prompt, is_within=True)
        self.questions.add(tuple(map(said_by, prompt.messages)))
        question = NativeQuestion(prompt=prompt, adjusted=(), ignored=())
        client.ask = self.pool.ask(question, client)
        client.is_within = False
        self.clients.append(client)

    def words(self) -> PromptMessage:
        return PromptMessage(Role.USER, (TextBlock(f"q{next(self.numbers)}"),))

    @rule(kind=st.sampled_from(["plain", "tools", "schema"]))
    def ask(self, kind: str) -> None:
        self.ask_for(kind)

    def ask_for(self, kind: str) -> None:
        self.put(
            Prompt(
                model="m",
                messages=(self.words(),),
                tools=(LOOK,) if kind == "tools" else (),
                schema={"type": "object"} if kind == "schema" else None,
            )
        )

    def ended(self, reason: str) -> list[Client]:
        ends = [(c, c.end) for c in self.clients]
        return [
            c for c, e in ends if isinstance(e, Finished) and e.stop_reason == reason
        ]

    @precondition(lambda self: self.ended("end_turn"))
    @rule(data=st.data())
    def ask_on(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.ended("end_turn")))
        turns = (*client.conversation, self.words())
        self.put(evolve(client.prompt, messages=turns))

    @precondition(lambda self: self.ended("tool_use"))
    @rule(data=st.data())
    def give_results(self, data: st.DataObject) -> None:
        self.give_results_of(data.draw(st.sampled_from(self.ended("tool_use"))))

    def give_results_of(self, client: Client) -> None:
        turns = client.conversation
        results = [
            ToolResultBlock(block.id, "blue")
            for block in turns[-1].content
            if isinstance(block, ToolUseBlock)
        ]
        turns = (*turns, PromptMessage(Role.USER, tuple(results)))
        self.put(evolve(client.prompt, messages=turns))

    def open_clients(self) -> list[Client]:
        return [c for c in self.clients if c.is_open]

    @precondition(lambda self: self.open_clients())
    @rule(data=st.data(), what=st.sampled_from(["cancel", "pause", "resume"]))
    def client_acts(self, data: st.DataObject, what: str) -> None:
        client = data.draw(st.sampled_from(self.open_clients()))
        client.is_gone = what == "cancel"
        getattr(client.ask, what)()

    # The processes.

    def told(self) -> list[ImaginedCLI]:
        return [c for c in self.spawner.living if c.inbox]

    def take_line(self, cli: ImaginedCLI) -> None:
        before = cli.question
        cli.step()
        is_new = cli.question is not None and cli.question is not before
        if is_new and not cli.has_used_own:
            # Nothing of another conversation, and nothing left out.
            assert tuple(cli.question or ()) in self.questions

    @precondition(lambda self: self.told())
    @rule(data=st.data())
    def cli_takes_a_line(self, data: st.DataObject) -> None:
        self.take_line(data.draw(st.sampled_from(self.told())))

    @precondition(lambda self: self.ended("tool_use"))
    @rule(data=st.data(), ways=SCRIPTS)
    def loop_goes_on(self, data: st.DataObject, ways: list[str]) -> None:
        """A result, and what its process makes of that."""
        self.give_results_of(data.draw(st.sampled_from(self.ended("tool_use"))))
        for cli in self.told()[-1:]:
            self.get_on(cli, ways)

    @rule(tools=st.booleans(), ways=SCRIPTS)
    def ask_and_get_on(self, tools: bool, ways: list[str]) -> None:
        """The way that most of it goes, where nothing gets in between."""
        self.ask_for("tools" if tools else "schema")
        for cli in self.told()[-1:]:
            self.get_on(cli, ways)

    @precondition(lambda self: self.spawner.living)
    @rule(data=st.data(), ways=st.lists(st.sampled_from(WAYS), min_size=1, max_size=9))
    def cli_gets_on(self, data: st.DataObject, ways: list[str]) -> None:
        """It works off what it is told, and answers."""
        self.get_on(data.draw(st.sampled_from(self.spawner.living)), ways)

    def get_on(self, cli: ImaginedCLI, ways: list[str]) -> None:
        for way in ways:
            while cli.inbox:
                self.take_line(cli)
            if cli.is_free:
                self.answer(cli, way)

    def answer(self, cli: ImaginedCLI, way: str) -> None:
        if way == "say" or not cli.said:
            cli.say()
        elif way == "use own":
            cli.use_own()
        elif way == "call" and "look" in cli.tools:
            self.complete.add("".join(cli.said))
            cli.make_call()
        else:
            self.complete.add("".join(cli.said))
            cli.finish()

    @precondition(lambda self: self.spawner.living)
    @rule(data=st.data(), line=st.sampled_from(FAULTS), chance=RARELY)
    def cli_writes(self, data: st.DataObject, line: Any, chance: bool) -> None:
        if chance:
            data.draw(st.sampled_from(self.spawner.living)).write_out(line)

    @precondition(lambda self: self.spawner.living)
    @rule(data=st.data(), status=st.integers(0, 1), chance=RARELY)
    def cli_dies(self, data: st.DataObject, status: int, chance: bool) -> None:
        if chance:
            data.draw(st.sampled_from(self.spawner.living)).exit(status)

    def leaving(self) -> list[ImaginedCLI]:
        return [c for c in self.spawner.living if c.signals]

    @precondition(lambda self: self.leaving())
    @rule(data=st.data())
    def cli_is_reaped(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.leaving())).exit()

    @rule(error=st.sampled_from([None] * 4 + [BlockingIOError(11, "no"), OSError(24)]))
    def machine_is_full(self, error: OSError | None) -> None:
        self.spawner.error = error

    # The rest of the world.

    @precondition(lambda self: self.checks)
    @rule(data=st.data(), problem=st.sampled_from([None, "it is wrong"]))
    def check_ends(self, data: st.DataObject, problem: str | None) -> None:
        check = data.draw(st.sampled_from(self.checks))
        self.checks.remove(check)
        check.callback(problem)

    @rule()
    def others_need_room(self) -> None:
        waiting = self.pool.session_counts()["suspended"]
        assert self.slots.make_room() is (waiting > 0)

    @rule(seconds=st.sampled_from([0, 0, 0, 0.3, 0.3, 3, 3, 25, 61]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: not self.is_stopped)
    @rule(gently=st.booleans(), chance=RARELY)
    def stop(self, gently: bool, chance: bool) -> None:
        if not chance:
            return
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

    # What holds at any time.

    @invariant()
    def there_are_as_many_places_as_processes(self) -> None:
        assert self.slots.taken == len(self.spawner.living) <= MOST
        counts = self.pool.session_counts()
        assert sum(counts.values()) == self.slots.taken
        assert counts["stopping"] == self.slots.leaving

    @invariant()
    def nobody_waits_where_there_is_room(self) -> None:
        if self.pool.queued:
            assert self.slots.taken == MOST
            waiting = self.pool.session_counts()["suspended"]
            assert self.slots.leaving >= self.pool.queued or not waiting

    @invariant()
    def the_queue_is_in_order(self) -> None:
        asks = [c.ask for c in self.clients]
        queue = [*self.pool._queue]
        # One that has lost its process is in front.
        new = [ask for ask in queue if not ask._was_started]
        places = [asks.index(ask) for ask in new]
        assert places == sorted(places)
        assert new == queue[len(queue) - len(new) :]

    @invariant()
    def each_open_question_is_somewhere(self) -> None:
        pool = self.pool
        there = {*pool._queue, *pool._running, *pool._checking}
        assert len(self.checks) == len(pool._checking)
        for client in self.clients:
            assert client.ask is not None
            is_over = client.ask._state.name == "OVER"
            assert (client.ask in there) is not is_over
            # What fails is told in a later turn.
            assert is_over or client.is_open

    @invariant()
    def what_is_told_was_said_and_is_told_once(self) -> None:
        whole = [c.text for c in self.clients if isinstance(c.end, Finished)]
        assert self.complete.issuperset(whole)
        words = [word for c in self.clients for word in c.text.split()]
        assert len(set(words)) == len(words)

    @invariant()
    def errors_are_of_our_making_and_nobody_elses_words(self) -> None:
        assert self.problems == []
        for client in self.clients:
            if isinstance(client.end, Failed):
                error = client.end.error
                assert isinstance(error, CCProxyError)
                # No fault of the CLI's is the client's.
                assert not isinstance(error, ClientError)
                assert "could not be set up" not in error.message
                assert not any(text in error.message for text in self.complete)

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
        assert (self.slots.taken, self.slots.leaving) == (0, 0)
        assert self.checks == []
        assert self.clock.getDelayedCalls() == []
        assert {*self.folder.iterdir()} <= {self.folder / "cwd"}
        assert self.problems == []


def test_any_order_of_things(expected_errors: ExpectedErrors) -> None:
    for words in (
        CLI_ENDED,
        IGNORES_SIGTERM,
        NOISE,
        RESULTS_UNREAD,
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
