"""Every option once: its flag, environment variable, default, help and check.

`OPTIONS` is the only list of them: the command line, the environment, ``--help``
and the README's table are made from it. Flags win over the environment, the
environment over the defaults. Nothing here reads ``os.environ`` or a file by
itself: `read_settings` is handed both.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6}
_UNITS |= {"gb": 10**9}
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_LARGEST = 10**15
_LONGEST_SECONDS = 10**8
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
# The key where there is nothing to protect.
DEMO_KEY = "demo"

# What an HTTP header can carry unharmed; anything else could never match.
_KEY = re.compile(r"[\x21-\x7e]+")


class SettingsError(Exception):
    """A setting is missing or wrong; one line that names it and the remedy."""


@frozen(kw_only=True)
class Settings:
    """All settings, checked.

    Attributes:
        api_keys: whoever sends one of them is served.
        listen: Twisted endpoint strings.
        model_map: (pattern, model) in the order given; ``*`` is a wildcard.
        max_body_bytes: largest request body.
        agent_tools: Claude Code's own tools that the model may use; none by
            default.
    """

    api_keys: tuple[str, ...] = field(repr=False)
    listen: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)
    model: str = "sonnet"
    model_map: tuple[tuple[str, str], ...] = ()
    claude_bin: Path | None = None
    agent_tools: tuple[str, ...] = ()
    forward_sampling: bool = False
    max_body_bytes: int = 2**20
    max_processes: int = 8
    first_token_seconds: float = 120.0
    silence_seconds: float = 120.0
    turn_seconds: float = 1800.0
    log_level: str = "info"
    log_format: str = "text"
    demo: bool = False


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


def _key(text: str) -> str:
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
        parse=_key,
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
        name="forward-sampling",
        environment="CCPROXY_FORWARD_SAMPLING",
        parse=_switch,
        help="send temperature, top_p and top_k upstream, which current models "
        "may refuse",
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


def read_settings(
    flags: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    read_text: Callable[[Path], str] = Path.read_text,
) -> Settings:
    """Check everything and put it together.

    Args:
        flags: what the command line gave, by option name, in its order.
        environment: the process's variables; an empty one counts as not set.
        read_text: reads the key file.

    Raises:
        SettingsError: with one line that names the flag or the variable.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        values[option.name] = _value(option, flags.get(option.name, ()), environment)
    return Settings(
        api_keys=_api_keys(values, read_text),
        listen=values["listen"] or (_endpoint(values["host"], values["port"]),),
        model=values["model"],
        model_map=values["model-map"],
        claude_bin=values["claude-bin"],
        agent_tools=values["agent-tools"] or (),
        forward_sampling=values["forward-sampling"] or False,
        max_body_bytes=values["max-body"],
        max_processes=values["max-processes"],
        first_token_seconds=values["first-token-timeout"],
        silence_seconds=values["silence-timeout"],
        turn_seconds=values["turn-timeout"],
        log_level=values["log-level"],
        log_format=values["log-format"],
        demo=values["demo"] or False,
    )


def _value(option: Option, given: Sequence[str], environment: Mapping[str, str]) -> Any:
    source, texts = f"--{option.name}", list(given)
    if not texts and environment.get(option.environment):
        source = option.environment
        text = environment[option.environment]
        texts = text.split(",") if option.repeatable else [text]
    if not texts and option.default:
        texts = [option.default]
    try:
        parsed = [option.parse(text) for text in texts]
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from None
    if option.repeatable:
        return tuple(parsed)
    return parsed[-1] if parsed else None


def _api_keys(
    values: Mapping[str, Any], read_text: Callable[[Path], str]
) -> tuple[str, ...]:
    keys = [values["api-key"]] if values["api-key"] else []
    path = values["api-key-file"]
    if path is not None:
        try:
            lines = read_text(path).removeprefix("\ufeff").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"--api-key-file: cannot read {path}: {error}"
            ) from None
        try:
            found = [_key(line.strip()) for line in lines if line.strip()]
        except ValueError as error:
            raise SettingsError(f"--api-key-file: a key in {path} {error}") from None
        if not found:
            raise SettingsError(f"--api-key-file: {path} holds no key")
        keys += found
    if not keys and values["demo"]:
        keys = [DEMO_KEY]
    if not keys:
        raise SettingsError(
            "--api-key: no key is set; choose a secret and set PROXY_API_KEY to it "
            "(or use --api-key-file), or try --demo"
        )
    return tuple(keys)


def _endpoint(host: str, port: int) -> str:
    # Twisted's endpoint strings separate their parts by colons.
    address = host.removeprefix("[").removesuffix("]")
    return f"tcp:{port}:interface={address.replace(':', chr(92) + ':')}"
