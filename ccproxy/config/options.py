"""Every option once: its flag, environment variable, default, help and check.

`OPTIONS` is the only list of them: the command line, the environment, ``--help`` and
the table of docs/settings.md are made from it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from ccproxy.config.parsers import (
    checked_key,
    choice,
    count,
    count_or_none,
    database,
    days,
    duration,
    host_name,
    mapping,
    names,
    origin,
    port,
    size,
    switch,
    word,
)


@frozen(kw_only=True)
class Option:
    """One option of the command line.

    Attributes:
        name: the long flag, without dashes.
        environment: the variable that stands for the flag; empty: none.
        default: as the user would write it; empty: none.
        metavar: what the value is, for ``--help``; empty: a switch.
        repeatable: may be given more than once; in the variable, by commas.
        parse: from text to the value; raises ValueError with the reason.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    environment: str = ""
    default: str = ""
    metavar: str = ""
    short: str | None = None
    repeatable: bool = False
    secret: bool = False


OPTIONS: Sequence[Option] = (
    Option(
        name="api-key",
        environment="PROXY_API_KEY",
        metavar="KEY",
        parse=checked_key,
        secret=True,
        help="the key that clients must send as `Authorization: Bearer KEY`; "
        "required, here or in a file",
    ),
    Option(
        name="api-key-file",
        environment="PROXY_API_KEY_FILE",
        metavar="FILE",
        parse=Path,
        help="a file of keys, one a line; keeps the key off the command line",
    ),
    Option(
        name="port",
        short="p",
        environment="PORT",
        default="8080",
        metavar="PORT",
        parse=port,
        help="port to listen on; 0 takes any free one",
    ),
    Option(
        name="host",
        environment="HOST",
        default="127.0.0.1",
        metavar="ADDRESS",
        parse=word,
        help="address to listen on",
    ),
    Option(
        name="listen",
        environment="CCPROXY_LISTEN",
        metavar="ENDPOINT",
        parse=word,
        repeatable=True,
        help="a Twisted endpoint string instead of host and port, for example "
        "unix:/run/ccproxy.sock or ssl:8443:privateKey=key.pem:certKey=cert.pem; "
        "repeatable",
    ),
    Option(
        name="allowed-hosts",
        environment="CCPROXY_ALLOWED_HOSTS",
        metavar="NAME",
        parse=host_name,
        repeatable=True,
        help="host names that requests may be for, besides localhost, addresses and, "
        "when others can reach it, this machine's own; *.NAME: all below it; *: any; "
        "repeatable, or separated by commas",
    ),
    Option(
        name="cors-origin",
        environment="CCPROXY_CORS_ORIGIN",
        metavar="ORIGIN",
        parse=origin,
        repeatable=True,
        help="web pages that may use it, for example https://chat.example.org; "
        "default: none; repeatable, or separated by commas",
    ),
    Option(
        name="max-connections",
        environment="CCPROXY_MAX_CONNECTIONS",
        default="512",
        metavar="N",
        parse=count,
        help="connections at one time; others are refused with 503",
    ),
    Option(
        name="head-timeout",
        environment="CCPROXY_HEAD_TIMEOUT",
        default="30s",
        metavar="TIME",
        parse=duration,
        help="how long the head of a request may take to come",
    ),
    Option(
        name="body-timeout",
        environment="CCPROXY_BODY_TIMEOUT",
        default="2m",
        metavar="TIME",
        parse=duration,
        help="how long its body may take",
    ),
    Option(
        name="keep-alive",
        environment="CCPROXY_KEEP_ALIVE",
        default="60s",
        metavar="TIME",
        parse=duration,
        help="how long a connection is kept for the next request",
    ),
    Option(
        name="reader-timeout",
        environment="CCPROXY_READER_TIMEOUT",
        default="5m",
        metavar="TIME",
        parse=duration,
        help="how long a client may leave its answer unread",
    ),
    Option(
        name="model",
        short="m",
        environment="CLAUDE_MODEL",
        default="sonnet",
        metavar="MODEL",
        parse=word,
        help="model for requests that name none: haiku, sonnet, opus or a full id",
    ),
    Option(
        name="model-map",
        environment="CCPROXY_MODEL_MAP",
        metavar="NAME=MODEL",
        parse=mapping,
        repeatable=True,
        help="answer to a foreign model name, for example gpt-4o=sonnet or *=opus; "
        "repeatable, or separated by commas",
    ),
    Option(
        name="claude-bin",
        environment="CLAUDE_BIN",
        metavar="FILE",
        parse=Path,
        help="the claude CLI; default: `claude` on PATH, else the one in the "
        "wheel claude-agent-sdk",
    ),
    Option(
        name="agent-tools",
        environment="CCPROXY_AGENT_TOOLS",
        metavar="NAMES",
        parse=names,
        help="Claude Code's own tools that the model may use on this machine, "
        "for example Read,WebSearch; default: none",
    ),
    Option(
        name="show-agent-tools",
        environment="CCPROXY_SHOW_AGENT_TOOLS",
        parse=switch,
        help="tell clients which of them the model has used, and for what, in its "
        "reasoning",
    ),
    Option(
        name="forward-sampling",
        environment="CCPROXY_FORWARD_SAMPLING",
        parse=switch,
        help="send temperature, top_p and top_k upstream, which current models "
        "may refuse",
    ),
    Option(
        name="forward-tool-choice",
        environment="CCPROXY_FORWARD_TOOL_CHOICE",
        parse=switch,
        help="demand tool calls by the Messages API's own tool_choice, which current "
        "models may refuse; without it the model is told in words",
    ),
    Option(
        name="max-body",
        environment="MAX_BODY",
        default="4MiB",
        metavar="SIZE",
        parse=size,
        help="largest request body",
    ),
    Option(
        name="max-processes",
        environment="CCPROXY_MAX_PROCESSES",
        metavar="N",
        parse=count,
        help="CLI processes at one time, 110 to 200 MB each; more requests wait; "
        "default: what fits in half of the memory, at most 8",
    ),
    Option(
        name="spares",
        environment="CCPROXY_SPARES",
        default="1",
        metavar="N",
        parse=count_or_none,
        help="how many of them are kept ready that were not asked anything yet; none "
        "with --agent-tools",
    ),
    Option(
        name="idle-seconds",
        environment="CCPROXY_IDLE_SECONDS",
        default="600",
        metavar="TIME",
        parse=duration,
        help="how long one is kept that nobody asks",
    ),
    Option(
        name="recycle-rss",
        environment="CCPROXY_RECYCLE_RSS",
        default="600MB",
        metavar="SIZE",
        parse=size,
        help="replace one that has grown larger than this, after its answer",
    ),
    Option(
        name="compose",
        environment="CCPROXY_COMPOSE",
        default="auto",
        metavar="HOW",
        parse=choice("auto", "body", "native"),
        help="how the model is asked: body: each request's body is set whole; native: "
        "Claude Code is told the conversation, by one process a request, as always "
        "with --agent-tools; auto: body, unless the CLI turns out not to take it",
    ),
    Option(
        name="reuse",
        environment="CCPROXY_REUSE",
        metavar="HOW",
        parse=choice("off", "continue", "rewind"),
        help="without effect: every CLI process answers any question",
    ),
    Option(
        name="max-queue",
        environment="CCPROXY_MAX_QUEUE",
        default="64",
        metavar="N",
        parse=count_or_none,
        help="how many requests may wait for one; others are refused with 503",
    ),
    Option(
        name="queue-seconds",
        environment="CCPROXY_QUEUE_SECONDS",
        default="60",
        metavar="TIME",
        parse=duration,
        help="how long a request may wait for one",
    ),
    Option(
        name="drain-seconds",
        environment="CCPROXY_DRAIN_SECONDS",
        default="30",
        metavar="TIME",
        parse=duration,
        help="how long answers may go on when the server is stopped",
    ),
    Option(
        name="max-suspended",
        environment="CCPROXY_MAX_SUSPENDED",
        metavar="N",
        parse=count_or_none,
        help="with --agent-tools: how many of them may wait for the results of the "
        "client's tools; 0: none, each result starts a new one; default: 4",
    ),
    Option(
        name="suspended-timeout",
        environment="CCPROXY_SUSPENDED_TIMEOUT",
        metavar="TIME",
        parse=duration,
        help="with --agent-tools: how long one waits for them; results that come later "
        "start a new one; default: 5m",
    ),
    Option(
        name="first-token-timeout",
        environment="CCPROXY_FIRST_TOKEN_TIMEOUT",
        default="120s",
        metavar="TIME",
        parse=duration,
        help="longest wait for the first token",
    ),
    Option(
        name="silence-timeout",
        environment="CCPROXY_SILENCE_TIMEOUT",
        default="120s",
        metavar="TIME",
        parse=duration,
        help="longest silence within an answer",
    ),
    Option(
        name="turn-timeout",
        environment="CCPROXY_TURN_TIMEOUT",
        default="30m",
        metavar="TIME",
        parse=duration,
        help="longest whole answer",
    ),
    Option(
        name="state-dir",
        environment="CCPROXY_STATE_DIR",
        metavar="DIRECTORY",
        parse=Path,
        help="where stored responses and conversations are kept; default: "
        "$XDG_STATE_HOME/ccproxy, else ~/.local/state/ccproxy; with --demo a "
        "temporary one",
    ),
    Option(
        name="database-url",
        environment="CCPROXY_DATABASE_URL",
        metavar="URL",
        parse=database,
        secret=True,
        help="keep them in PostgreSQL instead, which several proxies may share: "
        "postgresql://USER:PASSWORD@HOST/DATABASE",
    ),
    Option(
        name="keep-days",
        environment="CCPROXY_KEEP_DAYS",
        default="30",
        metavar="DAYS",
        parse=days,
        help="how long stored responses and untouched conversations are kept; or "
        "forever",
    ),
    Option(
        name="keep-size",
        environment="CCPROXY_KEEP_SIZE",
        default="1GiB",
        metavar="BYTES",
        parse=size,
        help="how much is kept; the oldest responses go first",
    ),
    Option(
        name="remember",
        environment="CCPROXY_REMEMBER",
        default="store",
        metavar="WHERE",
        parse=choice("off", "memory", "store"),
        help="where the model's own messages are kept in a loop of calls, so that it "
        "keeps its thinking: store: for 6 hours with the stored responses, so that a "
        "restarted or another proxy has them; memory: for an hour; off",
    ),
    Option(
        name="open-metrics",
        environment="CCPROXY_OPEN_METRICS",
        parse=switch,
        help="let GET /metrics be read without a key, at loopback addresses and Unix "
        "sockets only",
    ),
    Option(
        name="log-level",
        environment="CCPROXY_LOG",
        default="info",
        metavar="LEVEL",
        parse=choice("debug", "info", "warn", "error", "critical"),
        help="debug, info, warn, error or critical",
    ),
    Option(
        name="log-format",
        environment="CCPROXY_LOG_FORMAT",
        default="text",
        metavar="FORMAT",
        parse=choice("text", "json"),
        help="text or json (one object a line)",
    ),
    Option(
        name="demo",
        environment="CCPROXY_DEMO",
        parse=switch,
        help="answer from a script instead of a model: no account, no network; "
        "the key is then `demo` if none is given",
    ),
)
