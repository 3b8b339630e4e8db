"""The way of composing, and the largest body, by login."""

from collections.abc import Mapping

import pytest

from ccproxy.claude.installation.compose_mode import (
    BinaryVerdict,
    BodyLimit,
    ComposeDecision,
    ComposeMode,
    body_limit,
    decide_compose_mode,
)
from ccproxy.claude.protocol.records import Account

FIRST_PARTY = Account(api_provider="firstParty")


@pytest.mark.parametrize(
    ("account", "environment", "platform", "size_bytes"),
    [
        (None, {}, "linux", None),
        (
            Account(token_source="none", api_key_source="ANTHROPIC_API_KEY"),
            {},
            "linux",
            None,
        ),
        (Account(subscription_type="Claude Max"), {}, "linux", None),
        (Account(token_source="apiKeyHelper"), {}, "linux", 0),
        (Account(token_source="none", api_key_source="apiKeyHelper"), {}, "linux", 0),
        (FIRST_PARTY, {}, "darwin", 900_000),
        (None, {}, "darwin", 900_000),
        (FIRST_PARTY, {"ANTHROPIC_API_KEY": "k"}, "darwin", None),
        (FIRST_PARTY, {"CLAUDE_CODE_OAUTH_TOKEN": "k"}, "darwin", None),
        (FIRST_PARTY, {"ANTHROPIC_API_KEY": ""}, "darwin", 900_000),
        (Account(api_provider="bedrock"), {}, "linux", 100_000),
        (Account(api_provider="bedrock"), {"AWS_ACCESS_KEY_ID": "k"}, "linux", None),
        (
            *(Account(api_provider="bedrock"), {"AWS_BEARER_TOKEN_BEDROCK": "k"}),
            *("darwin", None),
        ),
        (Account(api_provider="vertex"), {}, "linux", None),
    ],
)
def test_how_large_a_body_may_be(
    account: Account | None,
    environment: Mapping[str, str],
    platform: str,
    size_bytes: int | None,
) -> None:
    limit = body_limit(account, environment, platform)
    assert (None if limit is None else limit.size_bytes) == size_bytes
    assert limit is None or limit.why


def decide(
    mode: ComposeMode = ComposeMode.AUTO,
    *,
    tools: bool = False,
    verdict: BinaryVerdict = BinaryVerdict.MERGES,
    limit: BodyLimit | None = None,
) -> ComposeDecision:
    return decide_compose_mode(
        mode, has_agent_tools=tools, verdict=verdict, why="it is odd", limit=limit
    )


NONE = BodyLimit(0, "no child")
SOME = BodyLimit(100, "no child")


@pytest.mark.parametrize(
    ("way", "is_native", "largest_bytes", "why"),
    [
        (decide(), False, None, ""),
        (decide(verdict=BinaryVerdict.DIFFERS), True, None, "it is odd"),
        (decide(verdict=BinaryVerdict.FAILED), True, None, "it is odd"),
        (decide(verdict=BinaryVerdict.EXAMINING), False, None, ""),
        (decide(limit=NONE), True, 0, "no child"),
        (decide(limit=SOME), False, 100, "no child"),
        (decide(tools=True), True, None, "its own loop"),
        (decide(ComposeMode.BODY, tools=True), True, None, "its own loop"),
        (decide(ComposeMode.NATIVE), True, None, "operator"),
        # The operator has the last word.
        (decide(ComposeMode.BODY, verdict=BinaryVerdict.DIFFERS), False, None, ""),
        (decide(ComposeMode.BODY, limit=NONE), False, None, ""),
    ],
)
def test_the_way(
    way: ComposeDecision, is_native: bool, largest_bytes: int | None, why: str
) -> None:
    assert (way.is_native, way.largest_bytes) == (is_native, largest_bytes)
    assert why in way.why
    assert bool(why) is bool(way.why)
