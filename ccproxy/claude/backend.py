"""The CLI as the web room sees it: put a question, resolve a name, list models."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger

from ccproxy.claude.catalogue import Catalogue, ModelEntry
from ccproxy.claude.deadlines import Limits
from ccproxy.claude.launch import Launch
from ccproxy.claude.pool import Ask, Pool
from ccproxy.claude.records import InitializeAnswer
from ccproxy.claude.session import Listener, Session
from ccproxy.claude.structured import TOOL
from ccproxy.claude.surroundings import Surroundings
from ccproxy.claude.waiting_room import WaitingLimits
from ccproxy.claude.wire import WireError
from ccproxy.conversation import Effort, Prompt
from ccproxy.errors import CCProxyError, InvalidRequest

# The first look at the CLI takes 0.4 s; who asks for models in the meantime is
# kept waiting for that long, and not much longer if the CLI does not answer.
_PATIENCE_SECONDS = 10.0


class Backend:
    """Everything behind the web room.

    Args:
        launch: how to start a CLI now; raises `CCProxyError` where there is none.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        launch: Callable[[], Launch],
        catalogue: Catalogue,
        limits: Limits,
        max_processes: int,
        waiting: WaitingLimits,
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
        self._surroundings = Surroundings(
            spawner=spawner,
            clock=clock,
            wall_seconds=wall_seconds,
            limits=limits,
            learned=self._learned,
            full_id=catalogue.full_id,
            forces_calls=forces_calls,
            tells_own_calls=tells_own_calls,
        )
        self._pool = Pool(self._session_for, clock, max_processes, waiting)
        self._look: Deferred[None] | None = None
        self._lookers: list[Deferred[None]] = []

    def start(self) -> None:
        """Serve, and have a first look at the CLI, to learn its models."""
        self._pool.start()
        look = Deferred.fromCoroutine(self._look_at_cli())
        if not look.called:
            self._look = look

    async def stop(self) -> None:
        """Fail every question, stop every CLI; done when all processes are gone."""
        if self._look is not None:
            self._look.cancel()
        await self._pool.stop()

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

    def _session_for(self, prompt: Prompt) -> Session:
        if prompt.schema is not None and any(t.name == TOOL for t in prompt.tools):
            raise InvalidRequest(
                f"`tools`: a tool named {TOOL} cannot be offered together with a "
                "schema for the answer; give it another name",
                param="tools",
            )
        launch = self._launch().without({tool.name for tool in prompt.tools})
        return Session(launch, self._surroundings)

    def _learned(self, answer: InitializeAnswer) -> None:
        self._catalogue.learn(answer.models)

    async def _look_at_cli(self) -> None:
        try:
            session = Session(self._launch(), self._surroundings)
            try:
                opened = session.open()
                opened.addTimeout(self._limits.first_token_seconds, self._clock)
                answer = await opened
                self._log.info(
                    "claude CLI {version}, {count} models",
                    version=answer.claude_code_version,
                    count=len(answer.models),
                )
            finally:
                self._pool.retire(session)
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
