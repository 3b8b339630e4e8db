"""What the room of the CLI tells whoever counts."""

from enum import Enum
from typing import Protocol


class Served(Enum):
    """What a question is answered by.

    ==========  ================================================================
    SUSPENDED   the CLI that made the calls whose results the question brings
    CONTINUED   one that has the conversation up to here
    REWOUND     one whose conversation was taken back for it
    SPARE       one that has been told nothing
    NEW         one that was started for it
    ==========  ================================================================
    """

    SUSPENDED = "suspended"
    CONTINUED = "continued"
    REWOUND = "rewound"
    SPARE = "spare"
    NEW = "new"


class Stopped(Enum):
    """Why a CLI was stopped.

    ===========  ===============================================================
    SHUTDOWN     the server stops
    IDLE         nobody has asked it for long enough
    ROOM         another kind of CLI was needed in its place
    NOT_REUSED   the operator wants no more of it, or it has tools of its own
    WORN         it has become too large, or was asked too often
    UNUSABLE     its answer failed, was cut short or given up, and cannot be undone
    LOST         it ended while nobody asked it, or did not do what it was told
    ===========  ===============================================================
    """

    SHUTDOWN = "shutdown"
    IDLE = "idle"
    ROOM = "room"
    NOT_REUSED = "not_reused"
    WORN = "worn"
    UNUSABLE = "unusable"
    LOST = "lost"


class Observer(Protocol):
    """Whoever counts. Nothing is told more often than once a message."""

    def cli_started(self) -> None:
        """A process was started."""

    def cli_stopped(self, why: Stopped) -> None:
        """A process is being stopped, or is found to be gone."""

    def question_served(self, served: Served, queued_seconds: float) -> None:
        """A question is put to a CLI, after so long in the queue."""

    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        """The first token is there, so long after the question.

        Args:
            model: the full id of who answers.
            served: what it is answered by.
            seconds: the time in the queue included.
        """

    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        """The model's provider refused, and is asked again after a while."""

    def cost_told(self, model: str, dollars: float) -> None:
        """The CLI has told what it used since it last did, whoever it was for."""


class Nobody:
    """Counts nothing."""

    def cli_started(self) -> None:
        """Do nothing."""

    def cli_stopped(self, why: Stopped) -> None:
        """Do nothing."""

    def question_served(self, served: Served, queued_seconds: float) -> None:
        """Do nothing."""

    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        """Do nothing."""

    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        """Do nothing."""

    def cost_told(self, model: str, dollars: float) -> None:
        """Do nothing."""
