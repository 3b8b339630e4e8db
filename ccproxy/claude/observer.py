"""What the pools report to the metrics: CLI processes, answers and costs."""

from enum import Enum


class Served(Enum):
    """Which process answers a request.

    ==========  ================================================================
    IDLE        a process that has answered before
    SPARE       a process that was started ahead of time
    NEW         a process that was started for this request
    SUSPENDED   a process that waits for the results in the request; only with
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
    SHUTDOWN     the server stops, or the compose mode has changed
    IDLE         it was idle for long enough
    ROOM         its slot was needed for another process
    NOT_REUSED   it serves no further request: Claude Code's own tools, or a
                 change of the compose mode
    WORN         it has become too large, or has had too many requests
    UNUSABLE     after an answer or its cancellation it was not ready again
    LOST         it ended or hung by itself, or ignored a command
    ===========  ===============================================================
    """

    SHUTDOWN = "shutdown"
    IDLE = "idle"
    ROOM = "room"
    NOT_REUSED = "not_reused"
    WORN = "worn"
    UNUSABLE = "unusable"
    LOST = "lost"


class ClaudeObserver:
    """Counts processes, answers and costs; subclasses override what they count.

    No method is called more often than once a message.
    """

    def cli_started(self) -> None:
        """A process was started."""

    def cli_stopped(self, why: StopReason) -> None:
        """A process is being stopped, or was found dead."""

    def question_served(self, served: Served, queued_seconds: float) -> None:
        """A request was given to a process, after ``queued_seconds`` in the queue."""

    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        """The first token of an answer has arrived.

        Args:
            model: full id of the model that answers.
            served: kind of process that answers.
            seconds: time since the request arrived, queue included.
        """

    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        """The provider refused, or the connection broke; the CLI will retry."""

    def cost_reported(self, model: str, dollars: float) -> None:
        """A CLI reported costs that it had not reported before."""
