"""The claude room as the web room sees it: prepare, ask, resolve, list, tell."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen
from msgspec import UnsetType
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger

from ccproxy.accounting import RateWindow
from ccproxy.claude.completion import (
    Completion,
    Composition,
    Listener,
    Question,
    Remembering,
)
from ccproxy.claude.composing import ComposeMode, Way, way_of
from ccproxy.claude.conformance import Conformance, Findings, Prober, Verdict
from ccproxy.claude.deadlines import Limits
from ccproxy.claude.error_paths import client_path
from ccproxy.claude.login import body_limit
from ccproxy.claude.models import Catalogue, ModelEntry
from ccproxy.claude.native.completion import NativeCompletion
from ccproxy.claude.native.pool import NativeOptions, NativePool, NativeQuestion
from ccproxy.claude.native.prompt import Effort
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.surroundings import Surroundings
from ccproxy.claude.observer import Observer
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.pool.factory import WorkerFactory
from ccproxy.claude.pool.limits import PoolLimits
from ccproxy.claude.pool.pool import Pool
from ccproxy.claude.pool.queue import RequestQueue
from ccproxy.claude.pool.slots import ProcessSlots
from ccproxy.claude.process.launch import Launch
from ccproxy.claude.protocol.records import Account, InitializeAnswer
from ccproxy.claude.schemas.checker import SchemaChecker
from ccproxy.claude.worker import WorkerContext
from ccproxy.core.messages import MessagesRequest
from ccproxy.errors import CCProxyError, ClaudeDown

# The first look at the CLI takes 0.4 s; who asks for models in the meantime is
# kept waiting for that long, and not much longer if the CLI does not answer.
_PATIENCE_SECONDS = 10.0

_SCHEMA = "output_config.format.schema"
_JSON_SCHEMA = "json_schema"


class Composer(Protocol):
    """Makes of a request what a worker is asked."""

    def compose(
        self, request: MessagesRequest, *, model: str, owner: str
    ) -> Composition:
        """Compose a request.

        Args:
            request: what the client asks.
            model: as `Catalogue.resolve` has it.
            owner: the id of the client's key.

        Raises:
            CCProxyError: the model cannot be asked this; ``param`` is the client's.
        """


class Launches(Protocol):
    """How CLIs are started."""

    def worker(self) -> Launch:
        """For questions that are set whole; raises `CCProxyError` where none is."""

    def native(self, without: frozenset[str]) -> Launch:
        """For a question that is told; raises `CCProxyError` where none is.

        Args:
            without: names of Claude Code's own tools that are the client's here.
        """


@frozen(kw_only=True)
class Status:
    """What is known of the CLI.

    Attributes:
        answers: whether it has been initialized and has told of itself.
        login: where its login comes from, in its own words.
        account: whose it is; None where it does not tell.
        subscription: the kind of it.
        windows: how much of its limits is used, as far as that was told.
        composer: how questions are asked, ``body`` or ``native``.
        why_native: why not otherwise, one clause; empty: they are set whole.
    """

    answers: bool
    version: str | None
    is_logged_in: bool
    login: str | None
    account: str | None
    subscription: str | None
    windows: Sequence[RateWindow] = ()
    composer: str = ComposeMode.BODY.value
    why_native: str = ""


@frozen(kw_only=True)
class BackendOptions:
    """What the operator has decided.

    Attributes:
        processes: how many CLI processes there may be at one time.
        has_agent_tools: whether Claude Code's own tools are on.
        forces_calls: whether the API itself is told that a call is demanded.
        tells_own_calls: whether clients are told what Claude Code does by itself.
    """

    compose: ComposeMode
    processes: int
    pool: PoolLimits
    limits: Limits
    native: NativeOptions
    has_agent_tools: bool = False
    forces_calls: bool = False
    tells_own_calls: bool = False


@frozen(kw_only=True)
class World:
    """What of the world the room needs.

    Attributes:
        wall_seconds: Unix time.
        environment: the CLI's, to tell its login by.
    """

    spawner: IReactorProcess
    clock: IReactorTime
    wall_seconds: Callable[[], float]
    environment: Mapping[str, str]


class Backend:
    """Everything behind the web room.

    Args:
        composer: makes bodies of requests.
        answers: keeps what the model has said.
        checker: compiles and checks the clients' schemas.
        observer: counts.
        limited: told how much of the subscription's limits is used.
    """

    _log = Logger()

    def __init__(
        self,
        options: BackendOptions,
        world: World,
        *,
        launches: Launches,
        catalogue: Catalogue,
        composer: Composer,
        answers: Remembering,
        checker: SchemaChecker,
        prober: Prober,
        findings: Findings,
        observer: Observer,
        limited: Callable[[Sequence[RateWindow]], None],
    ) -> None:
        self._options = options
        self._world = world
        self._clock = world.clock
        self._catalogue = catalogue
        self._composer = composer
        self._answers = answers
        self._checker = checker
        self._observer = observer
        self._tell_limits = limited
        self._windows: dict[str, RateWindow] = {}
        self._known: InitializeAnswer | None = None
        self._conformance = Conformance(
            launches.worker, prober, findings, world.clock, self._examined
        )
        self._breaker = CircuitBreaker(world.clock)
        self._breaker.probe = self._probe
        slots = ProcessSlots(options.processes)
        context = WorkerContext(
            spawner=world.spawner,
            clock=world.clock,
            wall_seconds=world.wall_seconds,
            limits=options.limits,
            learned=self._learned,
            limited=self._limited,
            observer=observer,
            unheard=self._breaker.record_failure,
            full_id=catalogue.full_id,
        )
        factory = WorkerFactory(
            launches.worker, context, self._breaker, self._conformance
        )
        self._native = self._native_pool(launches, slots)
        self._pool = Pool(
            factory,
            slots,
            options.pool,
            world.clock,
            observer,
            others_wait=lambda: self._native.queued > 0,
        )
        self._look: Deferred[None] | None = None
        self._lookers: list[Deferred[None]] = []
        self._draining: Deferred[None] | None = None
        self._is_in_haste = False

    def _native_pool(self, launches: Launches, slots: ProcessSlots) -> NativePool:
        options, world = self._options, self._world
        surroundings = Surroundings(
            spawner=world.spawner,
            clock=world.clock,
            wall_seconds=world.wall_seconds,
            limits=options.limits,
            learned=self._learned,
            limited=self._limited,
            observer=self._observer,
            unheard=self._breaker.record_failure,
            full_id=self._catalogue.full_id,
            forces_calls=options.forces_calls,
            tells_own_calls=options.tells_own_calls,
        )
        queue: RequestQueue[NativeCompletion] = RequestQueue(
            options.pool.queue, options.pool.queue_seconds, options.processes
        )
        sessions = _Sessions(
            launches, surroundings, self._breaker, self._conformance, self._observer
        )
        return NativePool(
            sessions,
            world.clock,
            options.native,
            slots,
            queue,
            self._checker,
            self._observer,
        )

    # Its life.

    def start(self) -> None:
        """Serve, and have a first look at the CLI, to learn its models."""
        self._is_in_haste = False
        self._native.start()
        self._pool.start()
        self._update()
        self._conformance.start()
        self._begin_to_look()

    async def drain(self, seconds: float) -> None:
        """Take no more questions, and wait for the answers to those that were taken.

        What is not answered then is ended by `stop`.
        """
        drained = self._draining = Deferred.fromCoroutine(self._drain())
        drained.addTimeout(seconds, self._clock)
        if self._is_in_haste:
            drained.cancel()
        try:
            await drained
        except DeferredTimeoutError:
            self._log.warn(
                "answers were cut off: {seconds:g} s are over", seconds=seconds
            )
        except CancelledError:
            self._log.warn("answers were cut off: the server is to stop at once")

    async def _drain(self) -> None:
        # Both take no more from now on, whichever is waited for first.
        drained = [self._pool.drain(), self._native.drain()]
        for one in drained:
            await one

    def hurry(self) -> None:
        """Let `drain` and `stop` wait for nothing, whether they have begun or will."""
        self._is_in_haste = True
        if self._draining is not None:
            self._draining.cancel()
        self._kill()

    def _kill(self) -> None:
        self._pool.kill()
        self._native.kill()

    async def stop(self) -> None:
        """Fail every question, stop every CLI; done when all processes are gone."""
        self._breaker.reset()
        self._conformance.stop()
        if self._look is not None:
            self._look.cancel()
        stopped = [self._pool.stop(), self._native.stop()]
        if self._is_in_haste:
            self._kill()
        for one in stopped:
            await one
        await self._checker.close()

    # Questions.

    async def prepare(
        self, request: MessagesRequest, *, owner: str = ""
    ) -> Question | NativeQuestion:
        """Make a request ready to be asked.

        Args:
            request: its ``model`` is the client's name; empty for the configured one.
            owner: the id of the client's key; what is remembered for one owner is
                never used for another.

        Raises:
            CCProxyError: there is no such model, no CLI that can be used, or the model
                cannot be asked this; ``param`` is the client's path.
        """
        model = await self.resolve(request.model)
        await self._conformance.settle()
        await self._compile_schema(request)
        # The login is told by the first look.
        await self._first_look()
        way = self._way()
        if way.is_native:
            return self._native_question(request, model)
        composed = self._composer.compose(request, model=model, owner=owner)
        largest = way.largest_bytes
        if largest is not None and len(composed.body.json) > largest:
            return self._native_question(request, model)
        return Question(request=request, model=model, owner=owner, composition=composed)

    def _native_question(self, request: MessagesRequest, model: str) -> NativeQuestion:
        wanted = request.effort
        effort = None if wanted is None else self._catalogue.effort(model, wanted)
        known = {e.value: e for e in Effort}
        return self._native.prepare(
            request, model=model, effort=None if effort is None else known.get(effort)
        )

    async def _compile_schema(self, request: MessagesRequest) -> None:
        form = request.output_format
        if (
            form is None
            or form.type != _JSON_SCHEMA
            or isinstance(form.schema, UnsetType)
        ):
            return
        param = client_path(_SCHEMA, request.paths)
        await self._checker.compile(bytes(form.schema), param)

    def ask(
        self, question: Question | NativeQuestion, listener: Listener
    ) -> Completion | NativeCompletion:
        """Ask; the listener is never called from within."""
        if isinstance(question, NativeQuestion):
            pending = self._native.ask(question, listener)
            if self._native.queued:
                self._pool.make_room()
            return pending
        completion = Completion(
            question,
            listener,
            owner=self._pool,
            checker=self._checker,
            answers=self._answers,
            clock=self._clock,
            observer=self._observer,
        )
        self._pool.submit(completion)
        return completion

    async def resolve(self, name: str | None) -> str:
        """The model that a client's name means.

        Raises:
            ModelNotFound: none; lists what there is.
        """
        if not self._catalogue.is_plain(name):
            await self._first_look()
        return self._catalogue.resolve(name)

    async def models(self) -> Sequence[ModelEntry]:
        """What a client may ask for."""
        await self._first_look()
        return self._catalogue.entries()

    # What there is to tell.

    async def status(self) -> Status:
        """Whether the CLI answers, with which login, and how it is asked."""
        if self._known is None and self._look is None and not self._pool.is_stopped:
            # It may have been installed since.
            self._begin_to_look()
        await self._first_look()
        known, account = self._known, Account()
        if known is not None and known.account is not None:
            account = known.account
        way = self._way()
        is_native = way.is_native
        return Status(
            answers=known is not None and self._breaker.is_closed,
            version=None if known is None else known.claude_code_version,
            is_logged_in=known is not None and account.is_logged_in,
            login=account.source,
            account=account.email,
            subscription=account.subscription_type,
            windows=self.windows,
            composer=(ComposeMode.NATIVE if is_native else ComposeMode.BODY).value,
            why_native=way.why,
        )

    def census(self) -> Mapping[str, int]:
        """How many processes are in which state; always the same names."""
        total = {**self._pool.census(), "suspended": 0}
        for state, count in self._native.session_counts().items():
            total[state] += count
        return total

    @property
    def queued(self) -> int:
        """How many questions wait for a process."""
        return self._pool.queued + self._native.queued

    @property
    def windows(self) -> Sequence[RateWindow]:
        """How much of the subscription's limits is used, as far as it was told."""
        return list(self._windows.values())

    @property
    def is_native(self) -> bool:
        """Whether every question is asked the native way."""
        return self._way().is_native

    def _limited(self, windows: Sequence[RateWindow]) -> None:
        self._windows |= {window.name: window for window in windows}
        self._tell_limits(windows)

    def _learned(self, answer: InitializeAnswer) -> None:
        self._breaker.record_success()
        self._catalogue.learn(answer.models)
        self._known = answer
        self._update()

    def _way(self) -> Way:
        account = None if self._known is None else self._known.account
        return way_of(
            self._options.compose,
            has_agent_tools=self._options.has_agent_tools,
            verdict=self._conformance.verdict,
            why=self._conformance.why,
            limit=body_limit(account, self._world.environment, sys.platform),
        )

    def _update(self) -> None:
        """Follow what is known now of the CLI: who serves, and who waits for that."""
        self._pool.use(is_used=not self._way().is_native)

    def _examined(self) -> None:
        """Go on: it is known how the CLI can be asked."""
        self._update()
        self._pool.wake()

    # The look at the CLI.

    def _begin_to_look(self) -> None:
        look = Deferred.fromCoroutine(self._look_at_cli())
        if not look.called:
            self._look = look

    def _probe(self) -> "Deferred[None]":
        """Have another look; fires when it is over."""
        if self._look is None:
            self._begin_to_look()
        over: Deferred[None] = Deferred()
        if self._look is None:
            over.callback(None)
        else:
            self._lookers.append(over)
        return over

    async def _look_at_cli(self) -> None:
        try:
            answer = await self._pool.look()
            self._log.info(
                "claude CLI {version}, {count} models",
                version=answer.claude_code_version or "of unknown version",
                count=len(answer.models),
            )
        except CancelledError:
            pass  # the server stops
        except CCProxyError as error:
            self._log.warn(
                "the claude CLI cannot be used now: {error}", error=str(error)
            )
        finally:
            self._look = None
            lookers, self._lookers = self._lookers, []
            for looker in lookers:
                looker.callback(None)

    async def _first_look(self) -> None:
        if self._look is None:
            return
        looker: Deferred[None] = Deferred()
        self._lookers.append(looker)
        looker.addTimeout(_PATIENCE_SECONDS, self._clock)
        try:
            await looker
        except DeferredTimeoutError:
            self._lookers.remove(looker)


@frozen
class _Sessions:
    """Starts the processes of the native way."""

    _launches: Launches
    _surroundings: Surroundings
    _breaker: CircuitBreaker
    _conformance: Conformance
    _observer: Observer

    def launch(self, without: frozenset[str]) -> Launch:
        """How one is started; raises `CCProxyError` where none can be."""
        return self._launches.native(without)

    def start(self, launch: Launch) -> Session:
        """Start one; raises `CCProxyError` if that is not possible."""
        self._breaker.check()
        if self._conformance.look() in (Verdict.EXAMINING, Verdict.UNUSABLE):
            # It was put in place since the question was prepared.
            raise ClaudeDown(
                "the claude CLI was replaced and is looked at; ask again",
                retry_after_seconds=1.0,
            )
        session = Session(launch, self._surroundings)
        self._observer.cli_started()
        return session
