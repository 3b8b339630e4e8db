"""The backend that answers requests with the Claude Code CLI."""

import sys
from collections.abc import Mapping, Sequence

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from ccproxy.claude.body.paths import BodyPaths
from ccproxy.claude.completion.completion import Completion
from ccproxy.claude.completion.composer import BodyComposer, ComposedQuestion
from ccproxy.claude.counting.counter import TokenCounter
from ccproxy.claude.installation.compose_mode import (
    ComposeDecision,
    ComposeMode,
    body_limit,
    decide_compose_mode,
)
from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.installation.discovery import CLIDiscovery, UnlistedModels
from ccproxy.claude.installation.examination import Prober, ProbeResults
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.models import NamedModel
from ccproxy.claude.native.completion import NativeCompletion
from ccproxy.claude.native.pool import NativePool, SessionFactory
from ccproxy.claude.native.prompt import NativeQuestion
from ccproxy.claude.native.question import native_question
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.pool.pool import Pool
from ccproxy.claude.pool.prefix_gate import PrefixGate
from ccproxy.claude.pool.processes import (
    ProcessSlots,
    WorkerFactory,
    memory_bytes,
    processes_for,
)
from ccproxy.claude.pool.requests import RequestQueue
from ccproxy.claude.process.binary import counts_freely
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.protocol.records import Account, InitializeAnswer
from ccproxy.claude.schemas.checker import SchemaChecker
from ccproxy.claude.status import cli_status
from ccproxy.claude.worker.context import CLIContext, Launches
from ccproxy.config.claude_settings import ClaudeSettings
from ccproxy.core.backend import (
    Listener,
    ModelEntry,
    PreparedQuestion,
    Status,
    TokenCount,
)
from ccproxy.core.conversation import with_conversation
from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import MessagesRequest
from ccproxy.core.usage import RateWindow

_SCHEMA = "output_config.format.schema"
# How long the provider keeps a beginning after its last use, by the time to live.
_CACHE_SECONDS = {"5m": 300.0, "1h": 3600.0}


class ClaudeBackend:
    """Answers requests with CLI processes; implements `ccproxy.core.backend.Backend`.

    Args:
        settings: the settings of the CLI and its processes.
        context: the context of all CLI processes; the backend adds its own callbacks.
        launches: returns how the CLI is started.
        composer: makes request bodies.
        checker: compiles and checks the clients' schemas.
        prober: examines a new binary of the CLI.
        probe_results: stores the results of these examinations.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ClaudeSettings,
        context: CLIContext,
        launches: Launches,
        *,
        composer: BodyComposer,
        checker: SchemaChecker,
        prober: Prober,
        probe_results: ProbeResults,
    ) -> None:
        self._settings = settings
        self._mode = ComposeMode(settings.compose)
        self._environment = launches.environment
        self._clock = context.clock
        self._composer = composer
        self._catalogue = composer.catalogue
        self._answers = composer.answers
        self._checker = checker
        self._observer = context.observer
        self._on_limits = context.on_limits
        self._windows: dict[str, RateWindow] = {}
        self._binary: BinaryID | None = None
        self._unlisted = UnlistedModels()
        self._conformance = Conformance(
            launches.worker,
            prober,
            probe_results,
            context.clock,
            self._examined,
            decides=self._mode is ComposeMode.AUTO and not settings.agent_tools,
        )
        self._breaker = CircuitBreaker(context.clock)
        context = evolve(
            context,
            on_initialized=self._learned,
            on_start_failed=self._breaker.record_failure,
            on_limits=self._limited,
            on_sizes=self._catalogue.learn_sizes,
            full_id=self._catalogue.full_id,
        )
        processes = settings.max_processes or processes_for(memory_bytes())
        slots = self._slots = ProcessSlots(processes)
        sessions = SessionFactory(
            launches, context, settings, self._breaker, self._conformance
        )
        queue: RequestQueue[NativeCompletion] = RequestQueue(
            settings.max_queue, settings.queue_timeout, processes
        )
        self._native = NativePool(
            sessions, context.clock, settings, slots, queue, checker, context.observer
        )
        self._pool = Pool(
            WorkerFactory(launches.worker, context, self._breaker, self._conformance),
            slots,
            settings,
            context.clock,
            context.observer,
            native_waits=lambda: self._native.queued > 0,
        )
        self._gate = PrefixGate(self._pool.submit, context.clock, settings.cache_wait)
        self._counter = TokenCounter(self._pool, context.clock, context.observer)
        self._discovery = CLIDiscovery(self._pool.discover, context.clock)
        self._breaker.probe = self._discovery.probe
        self._draining: Deferred[None] | None = None
        self._is_stopping_now = False

    # Start and stop.

    def start(self) -> None:
        """Accept requests, and start a CLI to learn its models."""
        self._is_stopping_now = False
        self._native.start()
        self._pool.start()
        self._update()
        self._conformance.start()
        self._discovery.start()

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and wait for running answers, at most ``seconds``.

        `stop` ends the answers that are still running then.
        """
        drained = self._draining = Deferred.fromCoroutine(self._drain())
        drained.addTimeout(seconds, self._clock)
        if self._is_stopping_now:
            drained.cancel()
        try:
            await drained
        except DeferredTimeoutError:
            self._log.warn(
                "answers were cut off: they did not end within {seconds:g} s",
                seconds=seconds,
            )
        except CancelledError:
            self._log.warn("answers were cut off: the server stops at once")

    async def _drain(self) -> None:
        # From now on, both pools refuse new requests.
        self._gate.release()
        drained = [self._pool.drain(), self._native.drain()]
        for one in drained:
            await one

    def stop_now(self) -> None:
        """End `drain`, and kill the processes that `stop` waits for, now and later."""
        self._is_stopping_now = True
        if self._draining is not None:
            self._draining.cancel()
        self._kill()

    def _kill(self) -> None:
        self._pool.kill()
        self._native.kill()

    async def stop(self) -> None:
        """Fail all requests and stop all CLIs; returns when all processes are gone."""
        self._breaker.reset()
        self._conformance.stop()
        self._discovery.cancel()
        self._gate.release()
        stopped = [self._pool.stop(), self._native.stop()]
        if self._is_stopping_now:
            self._kill()
        for one in stopped:
            await one
        await self._checker.close()

    # Requests.

    async def prepare(
        self, request: MessagesRequest, *, owner: str = ""
    ) -> ComposedQuestion | NativeQuestion:
        """Prepare a request.

        Args:
            request: its ``model`` is the client's name; empty for the default.
            owner: the id of the client's key; remembered answers of one owner are
                never used for another.

        Raises:
            CCProxyError: the model does not exist, the CLI cannot be used, or the
                request is invalid; ``param`` is the client's path.
        """
        named = await self._read_model(request.model)
        if request.thinking is not None:
            named = evolve(named, thinks=False)
        request = with_conversation(named.applied_to(request), owner)
        await self._conformance.settle(self._has_workers)
        await self._compile_schema(request)
        # The compose decision depends on the login, which the discovery finds out.
        await self._discovery.over()
        decision = self._compose_decision()
        catalogue, settings = self._catalogue, self._settings
        if decision.is_native:
            return native_question(request, named, catalogue, settings)
        composed = await self._composer.compose(request, model=named.model, owner=owner)
        largest = decision.largest_bytes
        if largest is not None and len(composed.body.json) > largest:
            return native_question(request, named, catalogue, settings)
        return ComposedQuestion(
            request=request, named=named, owner=owner, composition=composed
        )

    async def _compile_schema(self, request: MessagesRequest) -> None:
        schema = request.output_schema
        if schema is not None:
            param = BodyPaths(names=request.paths).client_path(_SCHEMA) or _SCHEMA
            await self._checker.compile(schema, param)

    def ask(
        self, question: PreparedQuestion, listener: Listener
    ) -> Completion | NativeCompletion:
        """Send a prepared request; the listener is called only after this returns."""
        if isinstance(question, NativeQuestion):
            return self._native.ask(question, listener)
        if not isinstance(question, ComposedQuestion):
            raise TypeError("the request was prepared by another backend")
        completion = Completion(
            question,
            listener,
            pool=self._pool,
            checker=self._checker,
            answers=self._answers,
            clock=self._clock,
            observer=self._observer,
            gate=self._gate,
        )
        body = question.composition.body
        cached = _CACHE_SECONDS["1h" if body.cache_ttl == "1h" else "5m"]
        owned = [f"{question.owner} {prefix}" for prefix in body.prefixes]
        self._gate.submit(completion, owned, cached)
        return completion

    async def count(self, request: MessagesRequest, *, owner: str = "") -> TokenCount:
        """Count a request's input tokens, as `ccproxy.core.backend.Backend.count`."""
        named = await self._read_model(request.model)
        await self._conformance.settle(self._has_workers)
        await self._discovery.over()
        known = self._discovery.answer
        version = None if known is None else known.claude_code_version
        uses_cli = not self.is_native and counts_freely(version)
        return await self._counter.count(request, named.model, owner, uses_cli=uses_cli)

    async def model(self, name: str) -> ModelEntry:
        """Find the entry, as in `models`, of the model that a client's name means.

        Raises:
            ModelNotFound: there is no such model; the message lists the models.
        """
        await self._discovery.over()
        return self._catalogue.find(name)

    async def _read_model(self, name: str | None) -> NamedModel:
        if not self._catalogue.is_plain(name):
            await self._discovery.over()
        return self._catalogue.read(name)

    async def models(self) -> Sequence[ModelEntry]:
        """The models that a client may name."""
        await self._discovery.over()
        return self._catalogue.entries()

    # Status.

    async def status(self) -> Status:
        """Whether the CLI answers, its login, and the compose mode."""
        why_not = "" if self._pool.is_stopped else await self._why_not()
        return cli_status(
            self._discovery.answer,
            self._compose_decision(),
            self.probe_result,
            self.windows,
            can_start=self._breaker.is_closed,
            why_not=why_not,
            why_not_updated=self._conformance.why_not_updated,
        )

    async def _why_not(self) -> str:
        """Why the CLI cannot be started now; empty: it can, or no reason is known."""
        try:
            if not self._conformance.check_usable():
                await self._conformance.settle(self._has_workers)
        except CCProxyError as error:
            return error.message
        return await self._discovery.why_unknown(self._conformance.binary)

    def session_counts(self) -> Mapping[str, int]:
        """The number of processes by state; always the same names."""
        total = {**self._pool.session_counts(), "suspended": 0}
        for state, count in self._native.session_counts().items():
            total[state] += count
        return total

    @property
    def queued(self) -> int:
        """The number of requests that wait for a process."""
        return self._gate.waiting + self._pool.queued + self._native.queued

    @property
    def windows(self) -> Sequence[RateWindow]:
        """The subscription's rate limits that the CLIs have reported."""
        return list(self._windows.values())

    @property
    def probe_result(self) -> ProbeResult:
        """The result of the examination of the CLI's binary."""
        return self._conformance.result

    @property
    def is_native(self) -> bool:
        """Whether every request is sent in native mode."""
        return self._compose_decision().is_native

    def _limited(self, windows: Sequence[RateWindow]) -> None:
        self._windows |= {window.name: window for window in windows}
        self._on_limits(windows)

    def _has_workers(self) -> bool:
        return self._pool.has_workers

    def _learned(self, answer: InitializeAnswer, launch: LaunchSpec) -> None:
        self._breaker.record_success()
        if not self._conformance.is_current(launch):
            return
        self._catalogue.learn(answer.models)
        self._unlisted.warn(self._catalogue.unlisted(), self._catalogue.listed())
        self._discovery.learn(answer, self._conformance.binary)
        account = answer.account or Account()
        # Signed thinking is valid for one account only.
        self._answers.account = account.email or account.source or ""
        self._composer.learn(account)
        self._update()

    def _compose_decision(self) -> ComposeDecision:
        known = self._discovery.answer
        account = None if known is None else known.account
        return decide_compose_mode(
            self._mode,
            has_agent_tools=bool(self._settings.agent_tools),
            verdict=self._conformance.verdict,
            why=self._conformance.why,
            limit=body_limit(account, self._environment, sys.platform),
        )

    def _update(self) -> None:
        """Turn the pool of workers on or off, by the current compose decision."""
        self._pool.use(is_used=not self._compose_decision().is_native)

    def _examined(self) -> None:
        """Serve waiting requests: the binary's examination is over."""
        self._update()
        before, self._binary = self._binary, self._conformance.binary
        if before not in (None, self._binary):
            self._breaker.reset()
            # If no slot is free, the next process that is started reports the models.
            if self._slots.is_free and self._conformance.is_usable:
                self._discovery.start()
        if not self.probe_result.has_error_log:
            # The discovery has failed, because this CLI does not know the option.
            self._discovery.retry()
        self._pool.wake()
        self._native.wake()
