"""What the pool gives workers to."""

from typing import Protocol

from ccproxy.claude.observer import Served
from ccproxy.claude.pool.queue import Queued
from ccproxy.claude.worker.worker import Worker


class Client(Queued, Protocol):
    """A question that needs a worker, or several one after the other."""

    @property
    def system(self) -> str:
        """The system prompt that its worker needs; empty for none."""

    # Whether a worker that has not answered before is better.
    wants_new: bool

    def start(self, worker: Worker, served: Served) -> None:
        """Ask a worker."""
