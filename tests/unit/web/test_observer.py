"""The client program, by its user agent."""

import pytest
from hypothesis import given
from hypothesis.strategies import text

from ccproxy.web.observer import FAMILIES, NONE, OTHER, client_family

# As the programs send it, versions shortened.
AGENTS = [
    ("OpenAI/Python 3.54.0", "openai-python"),
    ("AsyncOpenAI/Python 3.54.0", "openai-python"),
    ("OpenAI/JS 7.57.0", "openai-node"),
    ("Anthropic/Python 2.12.0", "anthropic-python"),
    ("AsyncAnthropic/Python 2.12.0", "anthropic-python"),
    ("codex_cli_rs/0.169.0 (Debian 12; x86_64) xterm", "codex"),
    ("claude-cli/2.1.330 (external, cli)", "claude-code"),
    ("opencode/1.18.2 ai-sdk/provider-utils/4.0.0 runtime/bun/1.3", "opencode"),
    ("ai/7.0.1 ai-sdk/openai-compatible/3.0.1", "vercel-ai-sdk"),
    ("litellm/1.106.0", "litellm"),
    ("Cline/3.0.1", "cline"),
    ("Agents/Python 0.9.0", "openai-agents"),
    ("pydantic-ai/2.68.0", "pydantic-ai"),
    ("curl/8.11.0", "curl"),
    ("Wget/1.21", "wget"),
    ("python-requests/2.32", "python"),
    ("python-httpx/0.28.1", "python"),
    ("Python/3.11 aiohttp/3.11.11", "python"),
    ("node", "node"),
    ("Go-http-client/1.1", "go"),
    ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "browser"),
    ("something of my own", OTHER),
    ("  ", NONE),
    ("", NONE),
    (None, NONE),
]


@pytest.mark.parametrize(("agent", "family"), AGENTS)
def test_families(agent: str | None, family: str) -> None:
    assert client_family(agent) == family


@given(text())
def test_there_are_no_others(agent: str) -> None:
    assert client_family(agent) in FAMILIES
