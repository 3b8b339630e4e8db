"""What sessions need of the world."""

from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.internet.interfaces import IReactorProcess, IReactorTime

from ccproxy.claude.cost_tracker import CostTracker
from ccproxy.claude.native.prompt import Prompt
from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.observer import ClaudeObserver, Nobody
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.claude.worker.deadlines import Limits
from ccproxy.core.errors import CCProxyError
from ccproxy.core.usage import RateWindow


@frozen(kw_only=True)
class Surroundings:
    """What sessions need of the world.

    Attributes:
        wall_seconds: Unix time.
        on_initialized: told what a CLI says of itself when it is initialized.
        limited: told how much of the subscription's limits is used.
        observer: whoever counts.
        on_start_failed: told why one has failed that had not answered anything.
        full_id: the id of the model that a name means.
        forces_calls: whether the API itself is told that a call is demanded.
        tells_own_calls: whether clients are told what the CLI does by itself.
    """

    spawner: IReactorProcess
    clock: IReactorTime
    wall_seconds: Callable[[], float]
    limits: Limits
    on_initialized: Callable[[InitializeAnswer], None]
    on_start_failed: Callable[[CCProxyError], None]
    limited: Callable[[Sequence[RateWindow]], None] = lambda _: None
    observer: ClaudeObserver = field(factory=Nobody)
    full_id: Callable[[str], str] = str
    forces_calls: bool = False
    tells_own_calls: bool = False

    def spending(self) -> CostTracker:
        """Who reads what a new CLI tells of its use."""
        return CostTracker(self.observer, self.limited, self.wall_seconds)

    def turn(
        self, prompt: Prompt, *, after: str | None, spent_usd: float, before: str | None
    ) -> NativeTurnDecoder:
        """The answer to a question, before it begins.

        Args:
            prompt: the question.
            after: the id of the message that it goes on from.
            spent_usd: what the CLI has cost so far.
            before: the id of the message before.
        """
        return NativeTurnDecoder(
            self.wall_seconds(),
            frozenset(tool.name for tool in prompt.tools),
            must_call=prompt.must_call and not self.forces_calls,
            has_schema=prompt.schema is not None,
            tells_own_calls=self.tells_own_calls,
            after=after,
            spent_usd=spent_usd,
            before=before,
        )
