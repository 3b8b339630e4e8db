"""The family of a client program, by its ``User-Agent``. Pure.

The families are few and fixed, so that the number of metric series stays small whatever
clients send. A program that names only its library is counted under the library.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

NONE, OTHER = "none", "other"

# The first match counts; programs come before the libraries that they are built on.
_FAMILIES: Sequence[tuple[str, str]] = (
    ("claude-code", r"claude-cli|claude-code"),
    ("codex", r"\bcodex"),
    ("openclaw", r"openclaw"),
    ("opencode", r"opencode"),
    ("cline", r"\bcline"),
    ("continue", r"\bcontinue\b"),
    ("cursor", r"\bcursor\b"),
    ("aider", r"\baider"),
    ("litellm", r"litellm"),
    ("langchain", r"langchain"),
    ("open-webui", r"open ?-?webui"),
    ("home-assistant", r"home ?-?assistant"),
    ("n8n", r"\bn8n"),
    ("pydantic-ai", r"pydantic-ai"),
    ("openai-agents", r"agents/python|openai-agents"),
    ("vercel-ai-sdk", r"\bai-sdk|\bai/\d"),
    ("openai-python", r"(?:async)?openai/python"),
    ("openai-node", r"openai/js"),
    ("anthropic-python", r"(?:async)?anthropic/python"),
    ("anthropic-node", r"anthropic/js"),
    ("curl", r"^curl/"),
    ("wget", r"^wget/"),
    ("python", r"^python|httpx|aiohttp|treq|twisted"),
    ("node", r"\bnode\b|node-fetch|undici|axios|^deno|^bun/"),
    ("go", r"^go-http-client"),
    ("browser", r"^mozilla/"),
)
_PATTERNS = tuple((name, re.compile(p, re.IGNORECASE)) for name, p in _FAMILIES)
FAMILIES = (*(name for name, _ in _FAMILIES), NONE, OTHER)
# The rest of a longer header is not read.
_LONGEST = 200


def client_family(user_agent: str | None) -> str:
    """The family of a client.

    Args:
        user_agent: the header; None: the client sent none.

    Returns:
        One of `FAMILIES`.
    """
    if not user_agent or not user_agent.strip():
        return NONE
    return _family(user_agent.strip()[:_LONGEST])


@lru_cache(maxsize=64)
def _family(user_agent: str) -> str:
    return next((name for name, found in _PATTERNS if found.search(user_agent)), OTHER)
