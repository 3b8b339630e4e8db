"""What the room of the CLI tells whoever counts."""

from enum import Enum
from typing import Protocol


class Served(Enum):
    """Which process answers a question.

    ==========  ================================================================
    IDLE        one that has answered before
    SPARE       one that was started ahead of time
    NEW         one that was started for this question
    SUSPENDED   one that waits for the results that the question brings; only with
                Claude Code's own tools
    ==========  ================================================================
    """

    IDLE = "idle"
    SPARE = "spare"
    NEW = "new"
    SUSPENDED = "suspended"


class StopReason(Enum):
    """Why a process was stopped.

    ===========  ===============================================================
    SHUTDOWN     the server stops
    IDLE         nobody has asked it for long enough
    ROOM         another kind of CLI was needed in its place
    NOT_REUSED   it was started for one request, as with Claude Code's own tools
    WORN         it has become too large, or was asked too often
    UNUSABLE     its answer failed or was given up, and cannot be taken back
    LOST         it ended or hung by itself, or did not do what it was told
    ===========  ===============================================================
    """

    SHUTDOWN = "shutdown"
    IDLE = "idle"
    ROOM = "room"
    NOT_REUSED = "not_reused"
    WORN = "worn"
    UNUSABLE = "unusable"
    LOST = "lost"


class ClaudeObserver(Protocol):
    """Whoever counts. Nothing is told more often than once a message."""

    def cli_started(self) -> None:
        """A process was started."""

    def cli_stopped(self, why: StopReason) -> None:
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

    def cli_stopped(self, why: StopReason) -> None:
        """Do nothing."""

    def question_served(self, served: Served, queued_seconds: float) -> None:
        """Do nothing."""

    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        """Do nothing."""

    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        """Do nothing."""

    def cost_told(self, model: str, dollars: float) -> None:
        """Do nothing."""
