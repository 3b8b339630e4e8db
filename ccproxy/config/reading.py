"""Makes `Settings` from flags and environment variables.

Flags take precedence over variables, and variables over defaults. The current name of
an option takes precedence over its former names. `read_settings` gets the environment
and the function that reads files as arguments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import fields

from ccproxy.config.mcp_servers import read_mcp_servers
from ccproxy.config.options import Option
from ccproxy.config.parsers import api_key
from ccproxy.config.settings import OPTIONS, Settings, SettingsError

# The API key of a demo that is started without one.
DEMO_KEY = "demo"


def read_settings(
    flags: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    read_text: Callable[[Path], str] = Path.read_text,
    *,
    needs_key: bool = True,
) -> Settings:
    """Read and check all settings.

    Args:
        flags: the values of each flag on the command line, in order.
        environment: the process's variables; an empty variable counts as not set.
        read_text: reads the key file and the file of ``--mcp-config``.
        needs_key: whether a missing API key is an error.

    Raises:
        SettingsError: a value is wrong or missing; the message names the flag or the
            variable.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        for value in _given(option, flags, environment):
            values[option.name] = value
            break
    is_demo = values.get("demo", False)
    values["api_keys"] = _api_keys(
        values.get("api_keys"), values.get("api_key_file"), read_text
    )
    if not values["api_keys"] and is_demo:
        values["api_keys"] = (DEMO_KEY,)
    if not values["api_keys"] and needs_key:
        raise SettingsError(
            "--api-key: no key is set; choose a secret and set PROXY_API_KEY to it "
            "(or use --api-key-file), or try --demo"
        )
    if not is_demo:
        values.setdefault("state_dir", _state_dir(environment))
    settings = Settings(**values)
    read_mcp_servers(settings, environment, read_text)
    return settings


def without_effect(settings: Settings) -> Sequence[str]:
    """The options that were given but have no effect, each with the reason."""
    found = []
    if settings.reuse is not None:
        found.append("--reuse: every claude CLI process answers any request")
    if not settings.agent_tools:
        default = fields(Settings)
        why = "claude CLI processes wait for results with --agent-tools only"
        if settings.max_suspended != default.max_suspended.default:
            found.append(f"--max-suspended: {why}")
        if settings.suspended_timeout != default.suspended_timeout.default:
            found.append(f"--suspended-timeout: {why}")
    if settings.server_tools and "web_search" not in settings.server_tools:
        found.append("--server-tools: the other tools work only with web_search")
    if settings.server_tools and (settings.agent_tools or settings.compose == "native"):
        found.append("--server-tools: native mode does not send the provider's tools")
    return found


def _given(
    option: Option, flags: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> Iterator[Any]:
    """The values given for an option, by precedence."""
    for spelling in option.spellings:
        texts = flags.get(spelling.flag)
        if texts:
            parse = spelling.parse or option.parse
            yield _parsed(option, parse, f"--{spelling.flag}", texts)
    for spelling in option.spellings:
        text = environment.get(spelling.variable)
        if text and spelling.variable:
            parse = spelling.parse or option.parse
            texts = text.split(",") if option.repeatable else [text]
            yield _parsed(option, parse, spelling.variable, texts)


def _parsed(
    option: Option, parse: Callable[[str], Any], source: str, texts: Sequence[str]
) -> Any:
    try:
        values = [parse(text) for text in texts]
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from None
    return tuple(values) if option.repeatable else values[-1]


def _state_dir(environment: Mapping[str, str]) -> Path | None:
    """The state directory by the XDG base directory specification; None: unknown."""
    base = environment.get("XDG_STATE_HOME", "")
    home = environment.get("HOME")
    # The specification says that a relative path is ignored.
    if base.startswith("/"):
        return Path(base, "ccproxy")
    return Path(home, ".local", "state", "ccproxy") if home else None


def _api_keys(
    key: str | None, path: Path | None, read_text: Callable[[Path], str]
) -> tuple[str, ...]:
    keys = (key,) if key else ()
    if path is None:
        return keys
    try:
        lines = read_text(path).removeprefix("\ufeff").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--api-key-file: cannot read {path}: {error}") from None
    try:
        found = [api_key(line.strip()) for line in lines if line.strip()]
    except ValueError as error:
        raise SettingsError(f"--api-key-file: a key in {path} {error}") from None
    if not found:
        raise SettingsError(f"--api-key-file: {path} holds no key")
    return (*keys, *found)
