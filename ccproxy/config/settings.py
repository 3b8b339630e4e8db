"""All settings of a server: each field is one option.

The options of the packages below `ccproxy.server` are in
`ccproxy.config.claude_settings`, `ccproxy.config.api_settings` and
`ccproxy.config.limits`. `Settings` inherits them.
"""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from ccproxy.config.api_settings import APISettings
from ccproxy.config.claude_settings import ClaudeSettings
from ccproxy.config.limits import ConnectionLimits
from ccproxy.config.options import Group, Spelling, metadata, option, options_of
from ccproxy.config.parsers import (
    api_key,
    choice,
    days_or_forever,
    duration,
    duration_or_forever,
    host_name,
    model_mapping,
    not_empty,
    origin,
    port,
    postgresql_url,
    size,
    switch,
)


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that names the setting."""


_DAY_SECONDS = 86_400.0
# Former names of fields, which applications that embed the proxy may still pass. The
# values: the new name, and the factor from the former unit to the new one (None: the
# unit is the same).
_FORMER_FIELDS: dict[str, tuple[str, float | None]] = {
    "body_seconds": ("body_timeout", None),
    "drain_seconds": ("drain_timeout", None),
    "first_token_seconds": ("first_token_timeout", None),
    "head_seconds": ("head_timeout", None),
    "idle_seconds": ("idle_timeout", None),
    "keep_alive_seconds": ("keep_alive_timeout", None),
    "keep_bytes": ("keep_size", None),
    "keep_days": ("keep_time", _DAY_SECONDS),
    "max_bodies": ("memory_limit", None),
    "max_body_bytes": ("max_body", None),
    "queue_seconds": ("queue_timeout", None),
    "reader_seconds": ("reader_timeout", None),
    "recycle_bytes": ("recycle_rss", None),
    "silence_seconds": ("silence_timeout", None),
    "suspended_seconds": ("suspended_timeout", None),
    "turn_seconds": ("turn_timeout", None),
}


def _takes_former_fields(settings: "type[Settings]") -> "type[Settings]":
    """Make a class's constructor accept former names of fields, with a warning."""
    made: Callable[..., None] = settings.__init__

    @functools.wraps(made)
    def make(self: "Settings", **fields: Any) -> None:
        for former in _FORMER_FIELDS.keys() & fields.keys():
            name, factor = _FORMER_FIELDS[former]
            if name in fields:
                raise TypeError(f"{former} is the former name of {name}: give one")
            warnings.warn(f"{former} is {name} now", DeprecationWarning, stacklevel=2)
            value = fields.pop(former)
            is_scaled = factor is not None and value is not None
            fields[name] = value * factor if is_scaled else value
        made(self, **fields)

    untyped: Any = settings
    untyped.__init__ = make
    return settings


@_takes_former_fields
@frozen(kw_only=True, slots=False)
class Settings(APISettings, ConnectionLimits, ClaudeSettings):
    """All settings of a server. Times are in seconds, sizes in bytes.

    `ccproxy.config.reading.read_settings` makes a `Settings` object from flags and
    environment variables. An object that an application makes itself has the same
    defaults, with two exceptions: ``state_dir`` is a temporary directory, and
    ``api_key_file`` is not read.
    """

    # The server.

    host: str = option(
        group=Group.SERVER,
        variable="HOST",
        metavar="ADDRESS",
        parse=not_empty,
        default="127.0.0.1",
        help="address to listen on",
    )
    port: int = option(
        group=Group.SERVER,
        letter="p",
        variable="PORT",
        metavar="PORT",
        parse=port,
        default="8080",
        help="port to listen on; 0: any free port",
    )
    listen: tuple[str, ...] = option(
        group=Group.SERVER,
        metavar="ENDPOINT",
        parse=not_empty,
        repeatable=True,
        help="a Twisted endpoint to listen on instead of --host and --port, for "
        "example unix:/run/ccproxy.sock or "
        "ssl:8443:privateKey=key.pem:certKey=cert.pem; repeatable",
    )
    drain_timeout: float = option(
        group=Group.SERVER,
        metavar="TIME",
        parse=duration,
        default="30s",
        old=[Spelling(flag="drain-seconds", variable="CCPROXY_DRAIN_SECONDS")],
        help="time limit for running answers when the server is stopped",
    )

    # Access.

    api_keys: tuple[str, ...] = field(
        repr=False,
        metadata=metadata(
            group=Group.ACCESS,
            flag="api-key",
            variable="PROXY_API_KEY",
            metavar="KEY",
            parse=api_key,
            is_secret=True,
            help="the key that clients must send as `Authorization: Bearer KEY`; "
            "required, here or in --api-key-file",
        ),
    )
    api_key_file: Path | None = option(
        group=Group.ACCESS,
        variable="PROXY_API_KEY_FILE",
        metavar="FILE",
        parse=Path,
        help="a file with API keys, one per line; keeps them off the command line",
    )
    allowed_hosts: tuple[str, ...] = option(
        group=Group.ACCESS,
        metavar="NAME",
        parse=host_name,
        repeatable=True,
        help="a host name by which clients may call the server, besides localhost, IP "
        "addresses and, if other machines can reach the server, the machine's own "
        "name; *.NAME: all subdomains; *: any; repeatable, or separated by commas",
    )
    cors_origins: tuple[str, ...] = option(
        group=Group.ACCESS,
        flag="cors-origin",
        variable="CCPROXY_CORS_ORIGIN",
        metavar="ORIGIN",
        parse=origin,
        repeatable=True,
        default_text="none",
        help="a web site whose pages may call the API, for example "
        "https://chat.example.org; *: any; repeatable, or separated by commas",
    )

    # The model; more in `NativeSettings` of `ccproxy.config.claude_settings`.

    model: str = option(
        group=Group.MODEL,
        letter="m",
        variable="CLAUDE_MODEL",
        metavar="MODEL",
        parse=not_empty,
        default="sonnet",
        help="the model for requests that name none: haiku, sonnet, opus or a full id",
    )
    model_map: tuple[tuple[str, str], ...] = option(
        group=Group.MODEL,
        metavar="NAME=MODEL",
        parse=model_mapping,
        repeatable=True,
        help="answer requests for the model NAME with MODEL, for example gpt-4o=sonnet "
        "or *=opus; repeatable, or separated by commas",
    )

    # Claude Code processes; more in `ccproxy.config.claude_settings`, and in
    # `PoolLimits` and `SuspensionLimits` of `ccproxy.config.limits`.

    claude_bin: Path | None = option(
        group=Group.PROCESSES,
        variable="CLAUDE_BIN",
        metavar="FILE",
        parse=Path,
        default_text="`claude` on PATH, else the CLI in the package claude-agent-sdk",
        help="the claude CLI",
    )
    reuse: str | None = option(
        group=Group.PROCESSES,
        is_hidden=True,
        metavar="HOW",
        parse=choice("off", "continue", "rewind"),
        help="without effect: every CLI process answers any request",
    )

    # Stored data.

    state_dir: Path | None = option(
        group=Group.DATA,
        metavar="DIRECTORY",
        parse=Path,
        default_text="$XDG_STATE_HOME/ccproxy, else ~/.local/state/ccproxy; with "
        "--demo a temporary directory",
        help="directory for stored responses, conversations, remembered answers and "
        "usage",
    )
    database_url: str | None = option(
        group=Group.DATA,
        metavar="URL",
        parse=postgresql_url,
        is_secret=True,
        help="store responses, conversations, remembered answers and usage in a "
        "PostgreSQL database instead, which several proxies may share: postgresql://USER:PASSWORD@HOST/DATABASE",
    )
    keep_time: float | None = option(
        group=Group.DATA,
        metavar="TIME",
        parse=duration_or_forever,
        default="30d",
        old=[
            Spelling(
                flag="keep-days",
                variable="CCPROXY_KEEP_DAYS",
                parse=days_or_forever,
            )
        ],
        help="how long stored responses and unchanged conversations are kept, with a "
        "unit; or forever",
    )
    keep_size: int | None = option(
        group=Group.DATA,
        metavar="SIZE",
        parse=size,
        default="1GiB",
        help="how large the stored responses and conversations may grow; the oldest "
        "are deleted first",
    )
    remember: str = option(
        group=Group.DATA,
        metavar="WHERE",
        parse=choice("off", "memory", "store"),
        default="store",
        help="where the model's messages with tool calls are kept, so that the model "
        "keeps its thinking when the tool results arrive: store: in the state "
        "directory or the database, for 6 hours; memory: for 1 hour; off: nowhere",
    )

    # Logs.

    log_level: str = option(
        group=Group.LOGS,
        metavar="LEVEL",
        parse=choice("debug", "info", "warn", "error", "critical"),
        default="info",
        old=[Spelling(variable="CCPROXY_LOG")],
        help="lowest level that is logged: debug, info, warn, error or critical",
    )
    log_format: str = option(
        group=Group.LOGS,
        metavar="FORMAT",
        parse=choice("text", "json"),
        default="text",
        help="format of the log: text, or json with one object per line",
    )

    # Development.

    demo: bool = option(
        group=Group.DEVELOPMENT,
        parse=switch,
        help="answer from a script instead of a model, without account and network; "
        "without a key of your own the key is `demo`",
    )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Twisted endpoints to listen on: ``listen``, else ``host`` and ``port``."""
        if self.listen:
            return self.listen
        # Twisted's endpoint strings separate their parts by colons.
        address = self.host.removeprefix("[").removesuffix("]")
        escaped = address.replace(":", r"\:")
        return (f"tcp:{self.port}:interface={escaped}",)


OPTIONS = options_of(Settings)
