"""The states of a worker.

=========  =====================================================================
STARTING   the process was started and is not initialized yet
READY      the worker can take a question; the body of its last question is removed
           soon
PREPARING  the worker has a question, whose body, system prompt and model are being
           set; or a text, whose tokens are being counted
ASKING     the question is written, the answer arrives
SETTLING   the listener has the last event, or has cancelled; the CLI has to end the
           turn and to rewind its conversation
GONE       the process is being stopped, or has ended
=========  =====================================================================

::

    STARTING ──► READY ──► PREPARING ──► ASKING ──► SETTLING ──► READY
        └──────────────────────▲ │
                                 └──► SETTLING; or READY: a count is done
    any ──► GONE
"""

from enum import Enum, auto


class WorkerState(Enum):
    """The state of a worker; the module explains the values."""

    STARTING = auto()
    READY = auto()
    PREPARING = auto()
    ASKING = auto()
    SETTLING = auto()
    GONE = auto()


class HasWorkerState:
    """A base class with a worker's state, which begins as ``STARTING``."""

    _state = WorkerState.STARTING

    @property
    def is_starting(self) -> bool:
        """Whether the worker is not initialized and has no question."""
        return self._state is WorkerState.STARTING

    @property
    def is_ready(self) -> bool:
        """Whether the worker can take a question."""
        return self._state is WorkerState.READY

    @property
    def is_free(self) -> bool:
        """Whether the worker has no question, and is not gone."""
        return self._state in (WorkerState.STARTING, WorkerState.READY)

    @property
    def is_answering(self) -> bool:
        """Whether the worker has a question that is not over."""
        return self._state in (WorkerState.PREPARING, WorkerState.ASKING)

    @property
    def is_preparing(self) -> bool:
        """Whether the worker has a question that is not written yet."""
        return self._state is WorkerState.PREPARING

    @property
    def is_asking(self) -> bool:
        """Whether the question is written, and its answer is arriving."""
        return self._state is WorkerState.ASKING

    @property
    def is_settling(self) -> bool:
        """Whether the worker's question is over, but the worker is not ready yet."""
        return self._state is WorkerState.SETTLING

    @property
    def is_gone(self) -> bool:
        """Whether the worker cannot be used any more."""
        return self._state is WorkerState.GONE
