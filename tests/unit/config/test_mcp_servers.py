"""The file of --mcp-config: which servers are used, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from ccproxy.config.mcp_servers import read_mcp_servers
from ccproxy.config.reading import read_settings
from ccproxy.config.settings import Settings, SettingsError

PROGRAM = {"command": "/bin/sh"}
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TOKEN": "t"}


def read(text: str, *tools: str) -> Any:
    settings = Settings(api_keys=("k",), agent_tools=tools, mcp_config=Path("mcp.json"))
    return read_mcp_servers(settings, ENVIRONMENT, lambda _: text)


def written(**servers: Any) -> str:
    return json.dumps({"mcpServers": servers, "other": 1})


def test_the_servers_that_are_named_are_used() -> None:
    text = written(shop=PROGRAM, mail=PROGRAM, a__b={"url": "https://a.example"})
    found = read(f"\ufeff{text}", "Read", "mcp__shop__price", "mcp__a__b", "mcp__shop")
    assert [server.name for server in found] == ["shop", "a__b"]
    assert found[0].config == PROGRAM


def test_a_configuration_has_the_variables_that_it_names() -> None:
    config = {
        "command": "${SHELL:-sh}",
        "env": {"KEY": "Bearer ${TOKEN}", "NOT": "$TOKEN ${}"},
    }
    [server] = read(written(shop=config), "mcp__shop")
    assert server.variables == {"TOKEN": "t"}
    assert "Bearer" not in repr(server)


@pytest.mark.parametrize(
    ("text", "tools", "words"),
    [
        ("{", ["mcp__a"], "mcp.json is not of the form"),
        ("{}", ["mcp__a"], "mcp.json is not of the form"),
        ('{"mcpServers": {"a": "x"}}', ["mcp__a"], r"not of the form .*mcpServers"),
        (written(), ["mcp__a"], "has no server"),
        (written(a=PROGRAM), ["Read"], "--agent-tools mcp__a"),
        (
            written(a=PROGRAM),
            ["mcp__b__x"],
            "no MCP server for mcp__b__x; it has mcp__a",
        ),
        (written(client=PROGRAM), ["mcp__client"], "needs another name"),
        (written(**{"a b": PROGRAM}), ["mcp__a b"], "name of letters"),
        (written(a={}), ["mcp__a"], 'needs a "command" or a "url"'),
        (written(a={"command": "./x"}), ["mcp__a"], "relative command './x'"),
        (written(a={"command": "no-such-x"}), ["mcp__a"], "'no-such-x'.* not found"),
        (
            written(a={"url": "https://${HOST}/"}),
            ["mcp__a"],
            "needs the variable HOST, which is not set",
        ),
    ],
)
def test_error_says_what_is_wrong(text: str, tools: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read(text, *tools)


def test_read_settings_refuses_a_wrong_file() -> None:
    environment = {**ENVIRONMENT, "PROXY_API_KEY": "k"}
    with pytest.raises(SettingsError, match="mcp__a belongs to an MCP server"):
        read_settings({"agent-tools": ["mcp__a"]}, environment)
    flags = {"agent-tools": ["mcp__a"], "mcp-config": ["/there/is/none"]}
    with pytest.raises(SettingsError, match="--mcp-config: cannot read /there/is/none"):
        read_settings(flags, environment)
    servers = {"agent-tools": ["mcp__a"], "mcp-config": ["f"]}
    settings = read_settings(servers, environment, lambda _: written(a=PROGRAM))
    assert settings.mcp_config == Path("f")
