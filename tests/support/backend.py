"""A backend under the test's control, behind the real server."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet import reactor

from ccproxy.api.admin.activity import ActivityTracker
from ccproxy.api.app import API
from ccproxy.api.passthrough.relay import new_agent
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.models import Catalogue
from ccproxy.config.api_settings import APISettings
from ccproxy.config.limits import ConnectionLimits
from ccproxy.config.parsers import PassthroughOption
from ccproxy.core.backend import (
    Listener,
    ModelEntry,
    PreparedQuestion,
    Status,
    TokenCount,
)
from ccproxy.core.blocks import text_block
from ccproxy.core.conversation import conversation_id
from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Finished,
    MessageStart,
    TextDelta,
    Usage,
)
from ccproxy.core.usage import RateWindow
from ccproxy.server.metrics import Metrics, UsageRecorder
from ccproxy.store.store import Store
from ccproxy.web.access import AllowedHosts, Authenticator, CORSPolicy
from ccproxy.web.head_checks import HeadChecks
from ccproxy.web.memory import MemoryBudget
from ccproxy.web.observer import RequestObservers
from ccproxy.web.server import ProxySite
from tests.support.server import KEY

READY = Status(
    answers=True,
    version="2.1.330",
    is_logged_in=True,
    login="claude.ai",
    account="someone@example.org",
    subscription="max",
)
SEVEN = TokenCount(tokens=7, is_exact=True)
STARTED = MessageStart("test-model")
SILENCE_SECONDS = 600.0
TEXT_STARTED = ContentBlockStart(text_block(""))
FINISHED = Finished("end_turn", Usage(input_tokens=3, output_tokens=2))


@frozen
class ScriptedQuestion:
    """A prepared request; ``model`` is the resolved name."""

    request: MessagesRequest
    model: str
    owner: str = ""
    effort: str | None = None
    adjusted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    prefix: str = ""
    thinks_by_name: bool = False

    @property
    def conversation(self) -> str:
        return conversation_id(self.request, self.owner)


@define(eq=False)
class ScriptedRequest:
    """A request that waits for its answer; the test sends events by `tell`."""

    question: ScriptedQuestion
    listener: Listener
    paused: bool = False
    cancelled: bool = False
    pauses: int = 0
    queued_seconds: float = 0.0
    adjusted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def request(self) -> MessagesRequest:
        """The request that the API decoded from the client's."""
        return self.question.request

    def tell(self, *events: Event) -> None:
        self.listener.receive(events)

    def answer(self, *texts: str) -> None:
        self.tell(*started(*texts), ContentBlockStop(), FINISHED)

    def cancel(self) -> None:
        self.cancelled = True

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False


def started(*texts: str) -> tuple[Event, ...]:
    """The start of an answer with an open text block."""
    return (STARTED, TEXT_STARTED, *map(TextDelta, texts))


@define(eq=False)
class ScriptedBackend:
    """Keeps all requests, and calls `asked` for each.

    Attributes:
        adjusted: the adjusted fields that every request reports.
        ignored: the ignored fields that every request reports.
        efforts: the effort that is sent, by the client's effort.
        prefix: the hash of everything before every answer.
        counted: the requests whose tokens were counted, with their owners.
        token_count: the count of every request.
    """

    asks: list[ScriptedRequest] = field(factory=list)
    asked: Callable[[ScriptedRequest], None] | None = None
    adjusted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    efforts: Callable[[str | None], str | None] = lambda wanted: wanted
    prefix: str = ""
    counted: list[tuple[MessagesRequest, str]] = field(factory=list)
    token_count: TokenCount = SEVEN
    known: Status = READY
    catalogue: Catalogue = field(factory=lambda: Catalogue("sonnet", (), 1700000000))

    async def prepare(
        self, request: MessagesRequest, *, owner: str = ""
    ) -> ScriptedQuestion:
        model = self.catalogue.resolve(request.model)
        effort = self.efforts(request.effort)
        return ScriptedQuestion(
            request,
            model,
            owner,
            effort,
            self.adjusted,
            self.ignored,
            self.prefix,
        )

    def ask(self, question: PreparedQuestion, listener: Listener) -> ScriptedRequest:
        assert isinstance(question, ScriptedQuestion)
        ask = ScriptedRequest(question, listener)
        self.asks.append(ask)
        if self.asked is not None:
            self.asked(ask)
        return ask

    async def count(self, request: MessagesRequest, *, owner: str = "") -> TokenCount:
        self.catalogue.resolve(request.model)
        self.counted.append((request, owner))
        return self.token_count

    async def model(self, name: str) -> ModelEntry:
        return self.catalogue.find(name)

    async def models(self) -> Sequence[ModelEntry]:
        return self.catalogue.entries()

    async def status(self) -> Status:
        return self.known


class Nothing:
    """No CLI to inspect."""

    queued = 0
    is_native = False
    probe_result = ProbeResult()
    windows: Sequence[RateWindow] = ()

    def session_counts(self) -> Mapping[str, int]:
        return {}


def quiet_tracker() -> ActivityTracker:
    """An activity tracker without a CLI."""
    return ActivityTracker(Nothing(), "1.2.3", lambda: 1700000000.0)


def api(
    backend: ScriptedBackend,
    store: Store,
    authenticator: Authenticator,
    cors: CORSPolicy,
    clock: Any,
    settings: APISettings,
    metrics: Metrics,
    observer: RequestObservers,
    tracker: ActivityTracker,
    memory: MemoryBudget,
) -> API:
    """The API in front of a scripted backend."""
    return API(
        backend=backend,
        store=store,
        authenticator=authenticator,
        cors=cors,
        settings=settings,
        observer=observer,
        memory=memory,
        exposition=metrics,
        tracker=tracker,
        agent=new_agent(reactor),
        silence_seconds=SILENCE_SECONDS,
        environment={"TARGETS_KEY": "targets-own-key"},
        clock=clock,
        wall_seconds=lambda: 1700000000.0,
    )


def site(
    backend: ScriptedBackend,
    store: Store,
    reactor: Any,
    clock: Any,
    *,
    max_body: int = 10_000,
    hosts: AllowedHosts | None = None,
    cors: CORSPolicy | None = None,
    limits: ConnectionLimits | None = None,
    open_metrics: bool = False,
    records_usage: bool = False,
    passthrough: tuple[PassthroughOption, ...] = (),
    strict: bool = False,
    repair_histories: bool = False,
) -> ProxySite:
    """The real server in front of a scripted backend."""
    authenticator = Authenticator((KEY,), max_body)
    cors = cors or CORSPolicy()
    metrics = Metrics()
    metrics.watched = Nothing()
    recorders = (UsageRecorder(store.usage),) if records_usage else ()
    tracker = quiet_tracker()
    observer = RequestObservers((metrics, tracker, *recorders))
    settings = APISettings(
        max_body=max_body,
        open_metrics=open_metrics,
        passthrough=passthrough,
        strict=strict,
        repair_histories=repair_histories,
    )
    limits = limits or ConnectionLimits()
    memory = MemoryBudget(limits.memory_limit)
    own = api(
        backend,
        store,
        authenticator,
        cors,
        clock,
        settings,
        metrics,
        observer,
        tracker,
        memory,
    )
    head_checks = HeadChecks(
        authenticator=authenticator,
        hosts=hosts or AllowedHosts(),
        cors=cors,
        limits=limits,
        open_paths=own.open_paths,
    )
    return ProxySite(own.resource(), head_checks, reactor, observer, memory)
