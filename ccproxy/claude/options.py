"""What a backend is made of: the operator's decisions, and what others provide."""

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen

from ccproxy.claude.installation.compose_mode import ComposeMode
from ccproxy.claude.native.options import NativeOptions
from ccproxy.claude.pool.limits import PoolLimits
from ccproxy.claude.process.launch import LaunchSpec


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
        environment: the CLI's; it decides how large bodies may be.
    """

    compose: ComposeMode
    processes: int
    pool: PoolLimits
    native: NativeOptions
    has_agent_tools: bool = False
    environment: Mapping[str, str] = field(factory=dict, repr=False)
