"""Every option once: its flag, environment variable, default, help and check.

`OPTIONS` is the only list of them: the command line, the environment, ``--help`` and
the README's table are made from it.
"""

import re
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

from attrs import frozen

_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6}
_UNITS |= {"gb": 10**9}
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_LARGEST = 10**15
_LONGEST_SECONDS = 10**8
_MOST_DAYS = 100_000
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
# What an HTTP header can carry unharmed; anything else could never match.
_KEY = re.compile(r"[\x21-\x7e]+")


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


def checked_key(text: str) -> str:
    """A key that a header can carry."""
    if not _KEY.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks, and not empty")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port number (0 to 65535)")
    return int(text)


def _size(text: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is not a size; write for example 1MiB or 500000")
    size = float(match[1]) * _UNITS[match[2].lower()]
    if not 1 <= size <= _LARGEST:
        raise ValueError("must be from one byte to 1000000GB")
    return int(size)


def _duration(text: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _SECONDS:
        raise ValueError(f"{text!r} is not a duration; write for example 90, 90s or 2m")
    seconds = float(match[1]) * _SECONDS[match[2].lower()]
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError("must be more than zero, and less than some years")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a number from 1 up")
    return int(text)


def _count_or_none(text: str) -> int:
    return 0 if text.strip() == "0" else _count(text)


def _switch(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither 1 nor 0")


def _word(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _database(text: str) -> str:
    scheme, separator, rest = text.strip().partition("://")
    if separator and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    raise ValueError("is no postgresql://USER:PASSWORD@HOST/DATABASE")


def _days(text: str) -> float:
    if text.strip().lower() == "forever":
        return inf
    if not _NUMBER.fullmatch(text.strip()) or not 0 < float(text) < _MOST_DAYS:
        raise ValueError(f"{text!r} is not a number of days; or write forever")
    return float(text)


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text.lower()

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _mapping(text: str) -> tuple[str, str]:
    pattern, separator, model = (part.strip() for part in text.partition("="))
    if not (pattern and separator and model):
        raise ValueError(f"{text!r} is not NAME=MODEL, for example gpt-4o=sonnet")
    return pattern, model


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
        parse=_port,
        help="port to listen on; 0 takes any free one",
    ),
    Option(
        name="host",
        environment="HOST",
        default="127.0.0.1",
        metavar="ADDRESS",
        parse=_word,
        help="address to listen on",
    ),
    Option(
        name="listen",
        environment="CCPROXY_LISTEN",
        metavar="ENDPOINT",
        parse=_word,
        repeatable=True,
        help="a Twisted endpoint string instead of host and port, for example "
        "unix:/run/ccproxy.sock or ssl:8443:privateKey=key.pem:certKey=cert.pem; "
        "repeatable",
    ),
    Option(
        name="model",
        short="m",
        environment="CLAUDE_MODEL",
        default="sonnet",
        metavar="MODEL",
        parse=_word,
        help="model for requests that name none: haiku, sonnet, opus or a full id",
    ),
    Option(
        name="model-map",
        environment="CCPROXY_MODEL_MAP",
        metavar="NAME=MODEL",
        parse=_mapping,
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
        parse=_names,
        help="Claude Code's own tools that the model may use on this machine, "
        "for example Read,WebSearch; default: none",
    ),
    Option(
        name="show-agent-tools",
        environment="CCPROXY_SHOW_AGENT_TOOLS",
        parse=_switch,
        help="tell clients which of them the model has used, and for what, in its "
        "reasoning",
    ),
    Option(
        name="forward-sampling",
        environment="CCPROXY_FORWARD_SAMPLING",
        parse=_switch,
        help="send temperature, top_p and top_k upstream, which current models "
        "may refuse",
    ),
    Option(
        name="forward-tool-choice",
        environment="CCPROXY_FORWARD_TOOL_CHOICE",
        parse=_switch,
        help="demand tool calls by the Messages API's own tool_choice, which current "
        "models may refuse; without it the model is told in words",
    ),
    Option(
        name="max-body",
        environment="MAX_BODY",
        default="1MiB",
        metavar="SIZE",
        parse=_size,
        help="largest request body",
    ),
    Option(
        name="max-processes",
        environment="CCPROXY_MAX_PROCESSES",
        default="8",
        metavar="N",
        parse=_count,
        help="CLI processes at one time, about 200 MB each; more requests wait",
    ),
    Option(
        name="max-suspended",
        environment="CCPROXY_MAX_SUSPENDED",
        default="4",
        metavar="N",
        parse=_count_or_none,
        help="how many of them may wait for the results of the client's tools; 0: "
        "none, each result starts a new one",
    ),
    Option(
        name="suspended-timeout",
        environment="CCPROXY_SUSPENDED_TIMEOUT",
        default="5m",
        metavar="TIME",
        parse=_duration,
        help="how long one waits for them; results that come later start a new one",
    ),
    Option(
        name="first-token-timeout",
        environment="CCPROXY_FIRST_TOKEN_TIMEOUT",
        default="120s",
        metavar="TIME",
        parse=_duration,
        help="longest wait for the first token",
    ),
    Option(
        name="silence-timeout",
        environment="CCPROXY_SILENCE_TIMEOUT",
        default="120s",
        metavar="TIME",
        parse=_duration,
        help="longest silence within an answer",
    ),
    Option(
        name="turn-timeout",
        environment="CCPROXY_TURN_TIMEOUT",
        default="30m",
        metavar="TIME",
        parse=_duration,
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
        parse=_database,
        secret=True,
        help="keep them in PostgreSQL instead, which several proxies may share: "
        "postgresql://USER:PASSWORD@HOST/DATABASE",
    ),
    Option(
        name="keep-days",
        environment="CCPROXY_KEEP_DAYS",
        default="30",
        metavar="DAYS",
        parse=_days,
        help="how long stored responses and untouched conversations are kept; or "
        "forever",
    ),
    Option(
        name="keep-size",
        environment="CCPROXY_KEEP_SIZE",
        default="1GiB",
        metavar="BYTES",
        parse=_size,
        help="how much is kept; the oldest responses go first",
    ),
    Option(
        name="log-level",
        environment="CCPROXY_LOG",
        default="info",
        metavar="LEVEL",
        parse=_choice("debug", "info", "warn", "error", "critical"),
        help="debug, info, warn, error or critical",
    ),
    Option(
        name="log-format",
        environment="CCPROXY_LOG_FORMAT",
        default="text",
        metavar="FORMAT",
        parse=_choice("text", "json"),
        help="text or json (one object a line)",
    ),
    Option(
        name="demo",
        environment="CCPROXY_DEMO",
        parse=_switch,
        help="answer from a script instead of a model: no account, no network; "
        "the key is then `demo` if none is given",
    ),
)
