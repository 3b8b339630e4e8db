"""Reads the operator's MCP servers: the file of ``--mcp-config``.

The file has the format of Claude Code: ``{"mcpServers": {NAME: CONFIG}}``. The
servers that ``--agent-tools`` names are used, as ``mcp__NAME`` (all tools of a server)
or ``mcp__NAME__TOOL``. The CLI replaces ``${VARIABLE}`` and ``${VARIABLE:-DEFAULT}`` in
a configuration.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from attrs import field, frozen

from ccproxy.config.mcp_names import (
    CLIENT_SERVER,
    is_mcp_tool,
    is_tool_of,
    mcp_tool,
)
from ccproxy.config.settings import Settings, SettingsError

_NAME = re.compile("[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}")


class _File(msgspec.Struct):
    servers: dict[str, dict[str, Any]] = msgspec.field(name="mcpServers")


@frozen
class OperatorServer:
    """An MCP server that the model may use.

    Attributes:
        name: the server's name.
        config: the server's configuration, which may contain secrets.
        variables: the environment variables that the configuration names.
    """

    name: str
    config: Mapping[str, Any] = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)


def read_mcp_servers(
    settings: Settings,
    environment: Mapping[str, str],
    read_text: Callable[[Path], str] = Path.read_text,
) -> Sequence[OperatorServer]:
    """Read and check the servers that ``--agent-tools`` names.

    Raises:
        SettingsError: the file, or a server that is used, is wrong; or a name in
            ``--agent-tools`` belongs to no server.
    """
    named = [name for name in settings.agent_tools if is_mcp_tool(name)]
    path = settings.mcp_config
    if path is None:
        if named:
            raise SettingsError(
                f"--agent-tools: {named[0]} belongs to an MCP server; name the file "
                "that configures the server with --mcp-config"
            )
        return ()
    configs = _decoded(path, read_text)
    if not named:
        raise SettingsError(
            f"--mcp-config: no server of {path} is on; turn on a server with "
            f"--agent-tools, for example --agent-tools {mcp_tool(next(iter(configs)))}"
        )
    used = dict.fromkeys(_server_of(tool, configs, path) for tool in named)
    return [_checked(name, configs[name], environment) for name in used]


def _decoded(
    path: Path, read_text: Callable[[Path], str]
) -> Mapping[str, dict[str, Any]]:
    try:
        text = read_text(path).removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--mcp-config: cannot read {path}: {error}") from None
    try:
        configs = msgspec.json.decode(text, type=_File).servers
    except msgspec.DecodeError as error:
        raise SettingsError(
            f"--mcp-config: {path} is not of the form "
            f'{{"mcpServers": {{"NAME": {{"command": "PROGRAM"}}}}}}: {error}'
        ) from None
    if not configs:
        raise SettingsError(f"--mcp-config: {path} has no server")
    return configs


def _server_of(tool: str, names: Iterable[str], path: Path) -> str:
    """The server to which the name of a tool belongs.

    If several fit, it is the longest, because a server's name may contain ``__``.
    """
    fitting = [each for each in names if is_tool_of(tool, each)]
    if not fitting:
        raise SettingsError(
            f"--agent-tools: {path} has no MCP server for {tool}; it has "
            f"{', '.join(map(mcp_tool, names))}"
        )
    return max(fitting, key=len)


def _checked(
    name: str,
    config: Mapping[str, Any],
    environment: Mapping[str, str],
) -> OperatorServer:
    about = f"--mcp-config: the server {name!r}"
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{about} needs a name of letters, digits, _ and - only")
    if name == CLIENT_SERVER:
        raise SettingsError(f"{about} needs another name: ccproxy itself uses this one")
    variables = {}
    for variable, default in _VARIABLE.findall("\n".join(_texts(config))):
        if variable in environment:
            variables[variable] = environment[variable]
        elif not default:
            raise SettingsError(
                f"{about} needs the variable {variable}, which is not set"
            )
    if not isinstance(config.get("url"), str):
        _check_command(about, config, variables, environment)
    return OperatorServer(name, config, variables)


def _check_command(
    about: str,
    config: Mapping[str, Any],
    variables: Mapping[str, str],
    environment: Mapping[str, str],
) -> None:
    command = config.get("command")
    if not isinstance(command, str) or not command:
        raise SettingsError(f'{about} needs a "command" or a "url"')
    command = _VARIABLE.sub(lambda m: variables.get(m[1], (m[2] or "")[2:]), command)
    if "/" in command and not command.startswith("/"):
        raise SettingsError(
            f"{about} has the relative command {command!r}; write an absolute path, "
            "because the CLI runs in an empty directory"
        )
    own = config.get("env")
    path = (own if isinstance(own, dict) else {}).get("PATH", environment.get("PATH"))
    if shutil.which(command, path=path) is None:
        raise SettingsError(f"{about} has the command {command!r}, which is not found")


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)
