"""What the operator decided, checked and put together.

Flags win over the environment, the environment over the defaults. Nothing here reads
``os.environ`` or a file by itself: `read_settings` is handed both.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isinf
from pathlib import Path
from typing import Any

from attrs import field, frozen

from ccproxy.config.options import OPTIONS, Option
from ccproxy.config.parsers import checked_key

# The key where there is nothing to protect.
DEMO_KEY = "demo"


class SettingsError(Exception):
    """A setting is missing or wrong; one line that names it and the remedy."""


@frozen(kw_only=True)
class Settings:
    """All settings, checked.

    Attributes:
        api_keys: whoever sends one of them is served.
        listen: Twisted endpoint strings.
        allowed_hosts: names that requests may be for, besides those that always may.
        cors_origins: the sites whose pages may use it.
        reader_seconds: how long a client may leave its answer unread.
        model_map: (pattern, model) in the order given; ``*`` is a wildcard.
        max_body_bytes: largest request body.
        max_processes: how many CLIs there may be; None: what there is memory for.
        recycle_bytes: from what size on a CLI is replaced.
        compose: how questions are asked; ``auto``, ``body`` or ``native``.
        reuse: without effect, see `without_effect`.
        max_suspended: how many CLIs may wait for results of the client's tools; of
            effect with agent_tools only. None: as many as the default says.
        suspended_seconds: how long they may; likewise.
        agent_tools: Claude Code's own tools that the model may use; none by
            default.
        state_dir: where what is stored lives; None: in a temporary folder, for as
            long as the service runs.
        database_url: of a PostgreSQL that it lives in instead.
        keep_days: how long; None: for ever.
        keep_bytes: how much; None: everything.
        remember: where the model's own messages are kept in a loop of calls; ``off``,
            ``memory`` or ``store``.
    """

    api_keys: tuple[str, ...] = field(repr=False)
    listen: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_connections: int = 512
    head_seconds: float = 30.0
    body_seconds: float = 120.0
    keep_alive_seconds: float = 60.0
    reader_seconds: float = 300.0
    model: str = "sonnet"
    model_map: tuple[tuple[str, str], ...] = ()
    claude_bin: Path | None = None
    agent_tools: tuple[str, ...] = ()
    show_agent_tools: bool = False
    forward_sampling: bool = False
    forward_tool_choice: bool = False
    max_body_bytes: int = 4 * 2**20
    max_processes: int | None = None
    spares: int = 1
    idle_seconds: float = 600.0
    recycle_bytes: int = 600_000_000
    compose: str = "auto"
    reuse: str | None = None
    max_queue: int = 64
    queue_seconds: float = 60.0
    drain_seconds: float = 30.0
    max_suspended: int | None = None
    suspended_seconds: float | None = None
    first_token_seconds: float = 120.0
    silence_seconds: float = 120.0
    turn_seconds: float = 1800.0
    log_level: str = "info"
    log_format: str = "text"
    demo: bool = False
    state_dir: Path | None = None
    database_url: str | None = field(default=None, repr=False)
    keep_days: float | None = 30.0
    keep_bytes: int | None = 2**30
    remember: str = "store"
    open_metrics: bool = False


def read_settings(
    flags: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    read_text: Callable[[Path], str] = Path.read_text,
    *,
    needs_key: bool = True,
) -> Settings:
    """Check everything and put it together.

    Args:
        flags: what the command line gave, by option name, in its order.
        environment: the process's variables; an empty one counts as not set.
        read_text: reads the key file.
        needs_key: whether it is an error that there is none.

    Raises:
        SettingsError: with one line that names the flag or the variable.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        values[option.name] = _value(option, flags.get(option.name, ()), environment)
    return Settings(
        api_keys=_api_keys(values, read_text, needs_key),
        listen=values["listen"] or (_endpoint(values["host"], values["port"]),),
        allowed_hosts=values["allowed-hosts"],
        cors_origins=values["cors-origin"],
        max_connections=values["max-connections"],
        head_seconds=values["head-timeout"],
        body_seconds=values["body-timeout"],
        keep_alive_seconds=values["keep-alive"],
        reader_seconds=values["reader-timeout"],
        model=values["model"],
        model_map=values["model-map"],
        claude_bin=values["claude-bin"],
        agent_tools=values["agent-tools"] or (),
        show_agent_tools=values["show-agent-tools"] or False,
        forward_sampling=values["forward-sampling"] or False,
        forward_tool_choice=values["forward-tool-choice"] or False,
        max_body_bytes=values["max-body"],
        max_processes=values["max-processes"],
        spares=values["spares"],
        idle_seconds=values["idle-seconds"],
        recycle_bytes=values["recycle-rss"],
        compose=values["compose"],
        reuse=values["reuse"],
        max_queue=values["max-queue"],
        queue_seconds=values["queue-seconds"],
        drain_seconds=values["drain-seconds"],
        max_suspended=values["max-suspended"],
        suspended_seconds=values["suspended-timeout"],
        first_token_seconds=values["first-token-timeout"],
        silence_seconds=values["silence-timeout"],
        turn_seconds=values["turn-timeout"],
        log_level=values["log-level"],
        log_format=values["log-format"],
        demo=values["demo"] or False,
        state_dir=values["state-dir"] or _state_dir(values["demo"], environment),
        database_url=values["database-url"],
        keep_days=None if isinf(values["keep-days"]) else values["keep-days"],
        keep_bytes=values["keep-size"],
        remember=values["remember"],
        open_metrics=values["open-metrics"] or False,
    )


def without_effect(settings: Settings) -> Sequence[str]:
    """The options that were given and do nothing, each with the reason."""
    found = []
    if settings.reuse is not None:
        found.append("--reuse: every claude CLI answers any question")
    if not settings.agent_tools:
        why = "no claude CLI waits for results, but with --agent-tools"
        if settings.max_suspended is not None:
            found.append(f"--max-suspended: {why}")
        if settings.suspended_seconds is not None:
            found.append(f"--suspended-timeout: {why}")
    return found


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


def _state_dir(demo: bool | None, environment: Mapping[str, str]) -> Path | None:
    """Where the XDG base directory specification has it; a demo leaves no trace."""
    base = environment.get("XDG_STATE_HOME", "")
    home = environment.get("HOME")
    if demo or (not base and not home):
        return None
    # A relative path there is to be ignored.
    if base.startswith("/"):
        return Path(base, "ccproxy")
    return Path(home, ".local", "state", "ccproxy") if home else None


def _api_keys(
    values: Mapping[str, Any], read_text: Callable[[Path], str], needs_key: bool
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
            found = [checked_key(line.strip()) for line in lines if line.strip()]
        except ValueError as error:
            raise SettingsError(f"--api-key-file: a key in {path} {error}") from None
        if not found:
            raise SettingsError(f"--api-key-file: {path} holds no key")
        keys += found
    if not keys and values["demo"]:
        keys = [DEMO_KEY]
    if not keys and needs_key:
        raise SettingsError(
            "--api-key: no key is set; choose a secret and set PROXY_API_KEY to it "
            "(or use --api-key-file), or try --demo"
        )
    return tuple(keys)


def _endpoint(host: str, port: int) -> str:
    # Twisted's endpoint strings separate their parts by colons.
    address = host.removeprefix("[").removesuffix("]")
    return f"tcp:{port}:interface={address.replace(':', chr(92) + ':')}"
