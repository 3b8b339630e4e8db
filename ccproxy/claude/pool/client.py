"""The requests that the pool gives workers to."""

from abc import abstractmethod

from ccproxy.claude.observer import Served
from ccproxy.claude.pool.pending_answer import PendingAnswer
from ccproxy.claude.worker.worker import Worker


class PoolClient(PendingAnswer[Worker]):
    """A request that needs a worker, or several one after the other.

    Attributes:
        wants_new: whether a worker that has not answered before is better.
    """

    wants_new = False

    @property
    @abstractmethod
    def system(self) -> str:
        """The system prompt that its worker needs; empty for none."""

    @abstractmethod
    def start(self, worker: Worker, served: Served) -> None:
        """Send the request to a worker."""
