"""Limits of connections, answers and CLI processes.

Each class declares the options of one component, with their defaults. `Settings`
inherits from all of these classes, so each component receives the `Settings` object but
needs only its own class. Times are in seconds, sizes in bytes.
"""

from attrs import frozen

from ccproxy.config.options import Group, Spelling, option
from ccproxy.config.parsers import duration, non_negative, positive, size


@frozen(kw_only=True, slots=False)
class ConnectionLimits:
    """Limits of the HTTP server's connections."""

    max_connections: int = option(
        group=Group.LIMITS,
        metavar="N",
        parse=positive,
        default="512",
        help="open connections; a further connection is refused with status 503",
    )
    memory_limit: int = option(
        group=Group.LIMITS,
        metavar="SIZE",
        parse=size,
        default="256MiB",
        old=[Spelling(flag="max-bodies", variable="CCPROXY_MAX_BODIES")],
        help="largest sum, in bytes of JSON, of requests that are not answered yet, "
        "the conversations that they continue, histories of WebSockets, and stored "
        "data that clients read; further data over 64 KiB is refused with status 503. "
        "The process needs several times as much memory",
    )
    head_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        default="30s",
        help="time limit for receiving the head of a request",
    )
    body_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        default="2m",
        help="time limit for receiving the body of a request",
    )
    keep_alive_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        # Longer than the timeouts of common reverse proxies, so that they close first.
        default="90s",
        old=[Spelling(flag="keep-alive", variable="CCPROXY_KEEP_ALIVE")],
        help="a connection without a request for this long is closed",
    )
    reader_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        default="5m",
        help="a connection whose client reads nothing of its answer for this long is "
        "closed",
    )


@frozen(kw_only=True, slots=False)
class TurnTimeouts:
    """Time limits of one answer of the model."""

    first_token_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        default="10m",
        help="time limit for the first token of an answer",
    )
    silence_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        default="10m",
        help="time limit between two events of an answer",
    )
    turn_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        default="30m",
        help="time limit for a whole answer",
    )


@frozen(kw_only=True, slots=False)
class PoolLimits:
    """Limits of CLI processes, and of the queue of requests that wait for a process."""

    spares: int = option(
        group=Group.PROCESSES,
        metavar="N",
        parse=non_negative,
        default="1",
        help="unused CLI processes that are kept ready for the next request; none with "
        "--agent-tools",
    )
    idle_timeout: float = option(
        group=Group.PROCESSES,
        metavar="TIME",
        parse=duration,
        default="10m",
        old=[Spelling(flag="idle-seconds", variable="CCPROXY_IDLE_SECONDS")],
        help="a CLI process without a request for this long is stopped; the processes "
        "of --spares stay",
    )
    recycle_rss: int = option(
        group=Group.PROCESSES,
        metavar="SIZE",
        parse=size,
        default="600MB",
        help="a CLI process with more resident memory than this is replaced after its "
        "answer",
    )
    max_queue: int = option(
        group=Group.LIMITS,
        metavar="N",
        parse=non_negative,
        default="64",
        help="requests that may wait for a CLI process; a further request is refused "
        "with status 503",
    )
    queue_timeout: float = option(
        group=Group.LIMITS,
        metavar="TIME",
        parse=duration,
        default="60s",
        old=[Spelling(flag="queue-seconds", variable="CCPROXY_QUEUE_SECONDS")],
        help="time limit for waiting for a CLI process",
    )


@frozen(kw_only=True, slots=False)
class SuspensionLimits:
    """Limits of CLI processes that wait for results of the client's tools."""

    max_suspended: int = option(
        group=Group.PROCESSES,
        metavar="N",
        parse=non_negative,
        default="4",
        help="CLI processes that may wait for results of the client's tools, with "
        "--agent-tools only; 0: each result starts a new process",
    )
    suspended_timeout: float = option(
        group=Group.PROCESSES,
        metavar="TIME",
        parse=duration,
        default="5m",
        help="how long a CLI process waits for results of the client's tools, with "
        "--agent-tools only; a later result starts a new process",
    )
