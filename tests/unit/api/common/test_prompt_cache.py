"""OpenAI's fields for the prompt cache."""

import json
from typing import Any

import pytest

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.core.messages import CacheWish

OPTIONS, RETENTION = "prompt_cache_options", "prompt_cache_retention"


@pytest.mark.parametrize(
    ("fields", "wish", "adjusted", "ignored"),
    [
        ({}, CacheWish(mode="implicit"), (), ()),
        ({OPTIONS: {"mode": "explicit"}}, CacheWish(mode="explicit"), (), ()),
        (
            {OPTIONS: {"mode": "implicit", "ttl": "30m"}},
            CacheWish(mode="implicit", ttl="1h"),
            (),
            (),
        ),
        (
            {RETENTION: "24h"},
            CacheWish(mode="implicit", ttl="1h"),
            (RETENTION,),
            (),
        ),
        ({RETENTION: "in_memory"}, CacheWish(mode="implicit"), (), ()),
        (
            {OPTIONS: {"mode": "odd", "ttl": "9h"}, RETENTION: "9h"},
            CacheWish(mode="implicit"),
            (),
            (f"{OPTIONS}.mode", f"{OPTIONS}.ttl", RETENTION),
        ),
    ],
)
def test_what_the_provider_has_is_asked_for_and_the_rest_is_named(
    fields: dict[str, Any], wish: CacheWish, adjusted: Any, ignored: Any
) -> None:
    chat = decode_chat(
        json.dumps({"messages": [{"role": "user", "content": "a"}], **fields}).encode()
    )
    responses = decode_responses(json.dumps({"input": "a", **fields}).encode())
    for decoded in (chat, responses):
        assert decoded.request.cache == wish
        assert tuple(decoded.adjusted) == adjusted
        assert tuple(decoded.ignored) == ignored


def test_native_mode_is_told_which_fields_it_does_not_carry() -> None:
    fields = {OPTIONS: {"mode": "explicit", "ttl": "30m"}, RETENTION: "in_memory"}
    decoded = decode_responses(json.dumps({"input": "a", **fields}).encode())
    told = decoded.request.cache.paths
    assert told == (f"{OPTIONS}.mode", f"{OPTIONS}.ttl", RETENTION)
