"""Decodes the fields with which OpenAI's clients control the prompt cache. Pure.

==========================  ========================================================
``prompt_cache_options``    ``mode`` has OpenAI's meaning. ``ttl`` is a minimum: for
                            ``30m`` and ``12h``, an hour is sent, which is the
                            longest time that the provider takes.
``prompt_cache_retention``  A maximum: for ``24h``, an hour is sent.
==========================  ========================================================

Source: ``PromptCacheOptionsParam`` and ``prompt_cache_retention`` in OpenAI's document;
rules 41 and 42 of the Messages API.
"""

from typing import Annotated, Any

import msgspec

from ccproxy.api.common.fates import ignored, refused
from ccproxy.core.messages import Adjustments, CacheWish

_OPTIONS, _RETENTION = "prompt_cache_options", "prompt_cache_retention"


class PromptCacheOptions(msgspec.Struct):
    """``prompt_cache_options``."""

    mode: str | None = None
    ttl: str | None = None
    comparison_response_id: Annotated[
        object, ignored("the provider does not diagnose its cache")
    ] = None
    prewarm: Annotated[
        bool | None, refused("every request gets an answer; limit its output tokens")
    ] = None


def cache_wish(
    options: PromptCacheOptions | None, retention: Any, adjustments: Adjustments
) -> CacheWish:
    """Decode the fields to a `CacheWish`; unknown values are reported as ignored.

    Args:
        options: the client's ``prompt_cache_options``.
        retention: the client's ``prompt_cache_retention``.
        adjustments: records the paths of changed values and of unknown values.
    """
    given = options or PromptCacheOptions()
    said = {
        f"{_OPTIONS}.mode": given.mode,
        f"{_OPTIONS}.ttl": given.ttl,
        _RETENTION: retention,
    }
    known = {
        f"{_OPTIONS}.mode": ("implicit", "explicit"),
        f"{_OPTIONS}.ttl": ("30m", "12h"),
        _RETENTION: ("in_memory", "24h"),
    }
    wishes = {path: value for path, value in said.items() if value in known[path]}
    unknown = (p for p, v in said.items() if v is not None and p not in wishes)
    adjustments.ignore(*unknown)
    if retention == "24h":
        adjustments.adjust(_RETENTION)
    if given.ttl == "12h":
        adjustments.adjust(f"{_OPTIONS}.ttl")
    return CacheWish(
        ttl="1h" if given.ttl in ("30m", "12h") or retention == "24h" else None,
        mode="explicit" if given.mode == "explicit" else "implicit",
        paths=tuple(wishes),
    )
