"""How much of the machine the CLIs may have."""

from attrs import frozen

from ccproxy.claude.native.transcript import Reuse
from ccproxy.claude.native.waiting_room import WaitingLimits


@frozen(kw_only=True)
class PoolLimits:
    """How many CLIs there are, and what they are used for.

    Attributes:
        processes: how many there may be at one time.
        spares: how many are kept ready that have been asked nothing.
        idle_seconds: how long one is kept that has answered.
        recycle_bytes: from what size on one is replaced.
        queue: how many questions may wait.
        queue_seconds: how long one may wait.
    """

    processes: int
    spares: int
    idle_seconds: float
    recycle_bytes: int
    queue: int
    queue_seconds: float
    reuse: Reuse
    waiting: WaitingLimits
