"""What a worker is at.

=========  =====================================================================
STARTING   spawned; not initialized yet
READY      it can be asked; the last question's body is forgotten soon
PREPARING  it has a question, and is told body, system prompt and model
ASKING     the question is written, the answer comes
SETTLING   the listener has its end, or is gone: the CLI has to end the turn and
           to rewind its conversation
GONE       the process is being stopped, or has ended
=========  =====================================================================

::

    STARTING ──► READY ──► PREPARING ──► ASKING ──► SETTLING ──► READY
        └──────────────────────▲
    any ──► GONE
"""

from enum import Enum, auto


class WorkerState(Enum):
    """What a worker is at."""

    STARTING = auto()
    READY = auto()
    PREPARING = auto()
    ASKING = auto()
    SETTLING = auto()
    GONE = auto()


class HasWorkerState:
    """Something that is in one of the states, a new one in the first."""

    _state = WorkerState.STARTING

    @property
    def is_starting(self) -> bool:
        """Whether it is not initialized yet, and has no question."""
        return self._state is WorkerState.STARTING

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked, and has no question."""
        return self._state is WorkerState.READY

    @property
    def is_preparing(self) -> bool:
        """Whether it has a question that it was not asked yet."""
        return self._state is WorkerState.PREPARING

    @property
    def is_asking(self) -> bool:
        """Whether the answer is under way."""
        return self._state is WorkerState.ASKING

    @property
    def is_settling(self) -> bool:
        """Whether it is done with a question, and not ready for the next."""
        return self._state is WorkerState.SETTLING

    @property
    def is_gone(self) -> bool:
        """Whether it is of no more use."""
        return self._state is WorkerState.GONE
