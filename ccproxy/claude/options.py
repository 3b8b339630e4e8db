"""What a backend is made of: the operator's decisions, and what others provide."""

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorProcess, IReactorTime

from ccproxy.claude.body.compose import Composition
from ccproxy.claude.installation.compose_mode import ComposeMode
from ccproxy.claude.native.pool import NativeOptions
from ccproxy.claude.pool.limits import PoolLimits
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.protocol.records import Account
from ccproxy.claude.worker.deadlines import Limits
from ccproxy.core.messages import MessagesRequest


class Composer(Protocol):
    """Makes of a request what a worker is asked."""

    def learn(self, account: Account) -> None:
        """Take what the CLI tells of its login."""

    async def compose(
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

    def worker(self) -> LaunchSpec:
        """For questions that are set whole; raises `CCProxyError` where none is."""

    def native(self, without: frozenset[str]) -> LaunchSpec:
        """For a question that is told; raises `CCProxyError` where none is.

        Args:
            without: names of Claude Code's own tools that are the client's here.
        """


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
