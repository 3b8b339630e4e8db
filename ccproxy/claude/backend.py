"""The CLI as the web room sees it: put a question, resolve a name, list models."""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger

from ccproxy.accounting import RateWindow
from ccproxy.claude.deadlines import Limits
from ccproxy.claude.models import Catalogue, ModelEntry
from ccproxy.claude.native.ask import Ask
from ccproxy.claude.native.audience import Listener
from ccproxy.claude.native.pool import Pool
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.structured import TOOL
from ccproxy.claude.native.surroundings import Surroundings
from ccproxy.claude.observer import Observer, Stopped
from ccproxy.claude.pool.circuit_breaker import Circuit
from ccproxy.claude.pool.limits import PoolLimits
from ccproxy.claude.process.launch import Launch
from ccproxy.claude.protocol.codec import WireError
from ccproxy.claude.protocol.records import Account, InitializeAnswer
from ccproxy.conversation import Effort, Prompt
from ccproxy.errors import CCProxyError, InvalidRequest

# The first look at the CLI takes 0.4 s; who asks for models in the meantime is
# kept waiting for that long, and not much longer if the CLI does not answer.
_PATIENCE_SECONDS = 10.0


@frozen(kw_only=True)
class Status:
    """What is known of the CLI.

    Attributes:
        answers: whether it has been initialized and has told of itself.
        login: where its login comes from, in its own words.
        account: whose it is; None where it does not tell.
        subscription: the kind of it.
        windows: how much of its limits is used, as far as that was told.
    """

    answers: bool
    version: str | None
    is_logged_in: bool
    login: str | None
    account: str | None
    subscription: str | None
    windows: Sequence[RateWindow] = ()


class Backend:
    """Everything behind the web room.

    Args:
        launch: how to start a CLI now; raises `CCProxyError` where there is none.
        observer: whoever counts.
        limited: told how much of the subscription's limits is used.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        launch: Callable[[], Launch],
        catalogue: Catalogue,
        limits: Limits,
        pool: PoolLimits,
        observer: Observer,
        limited: Callable[[Sequence[RateWindow]], None],
        forces_calls: bool = False,
        tells_own_calls: bool = False,
        spawner: IReactorProcess,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._launch = launch
        self._catalogue = catalogue
        self._clock = clock
        self._limits = limits
        self._observer = observer
        self._tell_limits = limited
        self._windows: dict[str, RateWindow] = {}
        self._surroundings = Surroundings(
            spawner=spawner,
            clock=clock,
            wall_seconds=wall_seconds,
            limits=limits,
            learned=self._learned,
            limited=self._limited,
            observer=observer,
            unheard=lambda error: self._circuit.unheard(error),
            full_id=catalogue.full_id,
            forces_calls=forces_calls,
            tells_own_calls=tells_own_calls,
        )
        self._pool = Pool(self, clock, pool, observer)
        self._circuit = Circuit(clock, self._probe)
        self._known: InitializeAnswer | None = None
        self._look: Deferred[None] | None = None
        self._draining: Deferred[None] | None = None
        self._is_in_haste = False
        self._lookers: list[Deferred[None]] = []

    def start(self) -> None:
        """Serve, and have a first look at the CLI, to learn its models."""
        self._is_in_haste = False
        self._pool.start()
        self._begin_to_look()

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

    async def drain(self, seconds: float) -> None:
        """Take no more questions, and wait for the answers to those that were taken.

        What is not answered then is ended by `stop`.
        """
        drained = self._draining = self._pool.drain()
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

    def hurry(self) -> None:
        """Let `drain` and `stop` wait for nothing, whether they have begun or will."""
        self._is_in_haste = True
        if self._draining is not None:
            self._draining.cancel()
        self._pool.kill()

    async def stop(self) -> None:
        """Fail every question, stop every CLI; done when all processes are gone."""
        self._circuit.reset()
        if self._look is not None:
            self._look.cancel()
        stopped = self._pool.stop()
        if self._is_in_haste:
            self._pool.kill()
        await stopped

    def ask(self, prompt: Prompt, listener: Listener) -> Ask:
        """Put a question; the listener is told everything, failures included."""
        return self._pool.ask(prompt, listener)

    async def resolve(self, name: str | None) -> str:
        """The model that a client's name means.

        Raises:
            ModelNotFound: none; lists what there is.
        """
        if not self._catalogue.is_plain(name):
            await self._first_look()
        return self._catalogue.resolve(name)

    async def effort(self, model: str, wanted: Effort) -> Effort | None:
        """The effort nearest to the wanted one that a model knows; None: none at all.

        Args:
            model: as `resolve` has it.
            wanted: what the client asks for.
        """
        await self._first_look()
        return self._catalogue.effort(model, wanted)

    async def models(self) -> Sequence[ModelEntry]:
        """What a client may ask for."""
        await self._first_look()
        return self._catalogue.entries()

    async def status(self) -> Status:
        """Whether the CLI answers, and as whom."""
        if self._known is None and self._look is None and not self._pool.is_stopped:
            # It may have been installed since.
            self._begin_to_look()
        await self._first_look()
        return self._status()

    def _status(self) -> Status:
        known, account = self._known, Account()
        if known is not None and known.account is not None:
            account = known.account
        return Status(
            answers=known is not None and self._circuit.is_closed,
            version=None if known is None else known.claude_code_version,
            is_logged_in=known is not None and account.is_logged_in,
            login=account.source,
            account=account.email,
            subscription=account.subscription_type,
            windows=self.windows,
        )

    def launch(self, prompt: Prompt | None) -> Launch:
        """How a CLI is started for a question, or as a spare.

        Raises:
            CCProxyError: there is none, or none could answer.
        """
        if prompt is None:
            return self._launch()
        if prompt.schema is not None and any(t.name == TOOL for t in prompt.tools):
            raise InvalidRequest(
                f"`tools`: a tool named {TOOL} cannot be offered together with a "
                "schema for the answer; give it another name",
                param="tools",
            )
        return self._launch().without({tool.name for tool in prompt.tools})

    def start_cli(self, launch: Launch) -> Session:
        """Start a CLI.

        Raises:
            CCProxyError: that is not possible now.
        """
        self._circuit.check()
        return self._start(launch)

    def _start(self, launch: Launch) -> Session:
        session = Session(launch, self._surroundings)
        self._observer.cli_started()
        return session

    def census(self) -> Mapping[str, int]:
        """How many CLIs are at what: `Pool.census`."""
        return self._pool.census()

    @property
    def queued(self) -> int:
        """How many questions wait for a CLI."""
        return self._pool.queued

    @property
    def windows(self) -> Sequence[RateWindow]:
        """How much of the subscription's limits is used, as far as it was told."""
        return list(self._windows.values())

    def _limited(self, windows: Sequence[RateWindow]) -> None:
        self._windows |= {window.name: window for window in windows}
        self._tell_limits(windows)

    def _learned(self, answer: InitializeAnswer) -> None:
        self._circuit.heard()
        self._catalogue.learn(answer.models)
        self._known = answer

    async def _look_at_cli(self) -> None:
        try:
            session = self._start(self._launch())
            self._pool.look_at(session)
            try:
                opened = Deferred.fromCoroutine(session.open())
                opened.addTimeout(self._limits.first_token_seconds, self._clock)
                answer = await opened
            except BaseException:
                self._pool.retire(session, Stopped.LOST)
                raise
            self._pool.adopt(session)
            self._log.info(
                "claude CLI {version}, {count} models",
                version=answer.claude_code_version,
                count=len(answer.models),
            )
        except CancelledError:
            pass  # the server stops
        except DeferredTimeoutError:
            self._log.warn(
                "the claude CLI does not answer; is something wrong with it?"
            )
        except (CCProxyError, WireError) as error:
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
