"""Decodes the settings of web search in OpenAI's APIs. Pure.

``web_search_options`` of chat completions and the ``web_search`` tools of both APIs
become a `WebSearch`. `ccproxy.claude.body.server_tools` adds the provider's tool for
it, or reports its fields as ignored.

Source: ``WebSearchTool``, ``WebSearchPreviewTool`` and ``web_search_options`` in
OpenAI's document; ``WebSearchTool20250305Param`` of anthropic-python 2.14, which some
clients send to OpenAI's APIs.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from ccproxy.api.common.fates import ignored
from ccproxy.core.messages import WebSearch

NO_SETTING = "the provider's search has no such setting"
# The beginning of the types of all tools for web search.
TYPE = "web_search"
# The names of the provider's tools. A client's tool of such a name is renamed.
RESERVED = ("web_search", "web_fetch")
_PLACES = ("city", "region", "country", "timezone")


class SearchFilters(msgspec.Struct):
    """``filters`` of the tool."""

    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None


class _Approximate(msgspec.Struct):
    country: str | None = None
    region: str | None = None
    city: str | None = None
    timezone: str | None = None


class UserLocation(msgspec.Struct):
    """``user_location``: flat in tools, nested in ``web_search_options``."""

    type: str | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    timezone: str | None = None
    approximate: _Approximate | None = None


class WebSearchOptions(msgspec.Struct):
    """``web_search_options`` of chat completions."""

    user_location: UserLocation | None = None
    filters: SearchFilters | None = None
    search_context_size: Annotated[object, ignored(NO_SETTING)] = None


def web_search(
    at: str,
    *,
    filters: SearchFilters | None = None,
    user_location: UserLocation | None = None,
    allowed_domains: list[str] | None = None,
    blocked_domains: list[str] | None = None,
    max_uses: int | None = None,
    unsent: tuple[str, ...] = (),
) -> WebSearch:
    """Make the `WebSearch` of a request.

    Args:
        at: the path of the field that asks for web search.
        filters: the domains in OpenAI's form.
        user_location: the place, flat or nested.
        allowed_domains: the domains in the Messages API's form.
        blocked_domains: the excluded domains in the Messages API's form.
        max_uses: the largest number of searches.
        unsent: the paths of settings that cannot be sent.
    """
    filters = filters or SearchFilters()
    allowed = tuple(filters.allowed_domains or allowed_domains or ())
    blocked = tuple(filters.blocked_domains or blocked_domains or ())
    if allowed and blocked:
        # The provider accepts only one of the two lists.
        inner = "filters." if filters.blocked_domains else ""
        blocked, unsent = (), (*unsent, f"{at}.{inner}blocked_domains")
    location = _location(user_location)
    given = {
        "filters": filters.allowed_domains or filters.blocked_domains,
        "allowed_domains": allowed_domains,
        "blocked_domains": blocked_domains,
        "user_location": location,
        "max_uses": max_uses,
    }
    settings = tuple(f"{at}.{name}" for name, value in given.items() if value)
    return WebSearch(
        at=at,
        allowed_domains=allowed,
        blocked_domains=blocked,
        user_location=location,
        max_uses=max_uses,
        settings=tuple(path for path in settings if path not in unsent),
        unsent=unsent,
    )


def _location(given: UserLocation | None) -> Mapping[str, str] | None:
    if given is None:
        return None
    places = {
        name: value
        for name in _PLACES
        if (value := getattr(given, name) or getattr(given.approximate, name, None))
    }
    return {"type": "approximate", **places} if places else None
