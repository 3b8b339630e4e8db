"""How much of the machine the workers may have."""

from attrs import frozen


@frozen(kw_only=True)
class PoolLimits:
    """How many workers there are, and how long they are kept.

    Attributes:
        spares: how many are kept ready that have not been asked anything.
        idle_seconds: how long a worker is kept that nobody asks.
        recycle_bytes: a worker with more resident memory is replaced.
        queue: how many questions may wait for a worker.
        queue_seconds: how long a question may wait.
    """

    spares: int
    idle_seconds: float
    recycle_bytes: int
    queue: int
    queue_seconds: float
