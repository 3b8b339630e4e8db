"""The shape of a request as the Messages API has it: keys, types, closed sets.

The table ``provider_types.json`` is read off the package ``anthropic`` (see
`generate_provider_types`). What only its beta types have needs a name in the header
``anthropic-beta``: without, the API knows no such field.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from attrs import frozen

_TABLE = Path(__file__).with_name("provider_types.json")
_ROOT = "MessageCreateParamsNonStreaming"
_EXTRA = "Extra inputs are not permitted"

_MCP = ("mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15")
_FALLBACK = ("server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01")
_CREDIT = ("fallback-credit-2026-06-01", "fallback-credit-2026-07-01")
_COMPACT = ("compact-2026-01-12", "compact-2026-09-04")
_TOOL_CHANGES = ("mid-conversation-tool-changes-2026-07-01",)
_CONTAINER = ("skills-2025-10-02", "code-execution-2025-05-22")
_BINDING = ("thinking-binding-controls-2026-08-01",)
_COMPUTER_2024 = ("computer-use-2024-10-22",)

# Field or block type, and the betas one of which it needs.
BETAS: Mapping[str, Sequence[str]] = {
    "context_management": ("context-management-2025-06-27", *_COMPACT),
    "mcp_servers": _MCP,
    "fallbacks": _FALLBACK,
    "fallback_credit_token": _CREDIT,
    "thread": ("message-threads-2026-08-12",),
    "compaction": _COMPACT,
    "billing_policy": ("user-profiles-billing-2026-10-01",),
    "speed": ("fast-mode-2026-02-01",),
    "container": _CONTAINER,
    "task_budget": ("task-budgets-2026-03-13",),
    "block_binding": _BINDING,
    "clear_at": ("mid-conversation-system-clear-at-2026-08-21",),
    "SystemMessageParam.output_config": (
        "mid-conversation-output-config-2026-07-01",
        "per-turn-control-2026-07-01",
    ),
    "scope": ("prompt-caching-scope-2026-01-05",),
    "AdvisorTool20260301Param": ("advisor-tool-2026-03-01",),
    "AdvisorToolResultBlockParam": ("advisor-tool-2026-03-01",),
    "CompactionBlockParam": _COMPACT,
    "FallbackBlockParam": _FALLBACK,
    "MCPToolListingBlockParam": _MCP,
    "MCPToolUseBlockParam": _MCP,
    "MCPToolsetParam": _MCP,
    "RequestMCPToolResultBlockParam": _MCP,
    "RequestToolAdditionBlockParam": _TOOL_CHANGES,
    "RequestToolRemovalBlockParam": _TOOL_CHANGES,
    "ToolBash20241022Param": _COMPUTER_2024,
    "ToolComputerUse20241022Param": _COMPUTER_2024,
    "ToolTextEditor20241022Param": _COMPUTER_2024,
    "ToolComputerUse20250124Param": ("computer-use-2025-01-24",),
    "ToolComputerUse20251124Param": ("computer-use-2025-11-24",),
}
# What the CLI sends, and the package does not know.
_UNPUBLISHED = {"CacheControlEphemeralParam": {"scope": {"of": ["global", "org"]}}}
_UPDATES = "thinking-display-updates-2026-08-18"


@frozen
class Fault:
    """A part of a request with a wrong shape, and the API's message."""

    path: str
    words: str
    is_beta: bool = False


def faults(body: Mapping[str, Any], betas: Collection[str]) -> Iterator[Fault]:
    """The parts of a body that the API's types do not allow."""
    yield from _Checker(frozenset(betas)).typed(_ROOT, body, "")


@cache
def _types() -> Mapping[str, Any]:
    types: Mapping[str, Any] = json.loads(_TABLE.read_text())["types"]
    return types


class _Checker:
    def __init__(self, betas: frozenset[str]) -> None:
        self._betas = betas

    def typed(self, name: str, value: Mapping[str, Any], path: str) -> Iterator[Fault]:
        about = _types()[name]
        fields = {**about["fields"], **_UNPUBLISHED.get(name, {})}
        for key in about["required"]:
            if key not in value:
                yield Fault(_under(path, key), "Field required")
        for key, given in value.items():
            place = _under(path, key)
            if key not in fields:
                if name != "InputSchemaTyped":
                    yield Fault(place, _EXTRA)
            elif self._is_missing(f"{name}.{key}") or self._is_missing(key):
                yield Fault(place, _EXTRA, is_beta=True)
            else:
                yield from self._value(fields[key], given, place)
        if value.get("display") == "updates" and _UPDATES not in self._betas:
            words = "Input should be 'summarized' or 'omitted'"
            yield Fault(_under(path, "display"), words, is_beta=True)

    def _is_missing(self, name: str) -> bool:
        needed = BETAS.get(name)
        return needed is not None and self._betas.isdisjoint(needed)

    def _value(self, hint: Any, value: Any, path: str) -> Iterator[Fault]:
        if isinstance(hint, str):
            words = _plain(hint, value)
            if words is not None:
                yield Fault(path, words)
        elif "ref" in hint:
            yield from self._member([hint["ref"]], value, path)
        elif "of" in hint:
            if not isinstance(value, (str, bool)) or value not in hint["of"]:
                yield Fault(path, f"Input should be {_listed(hint['of'])}")
        elif "list" in hint:
            if not isinstance(value, list):
                yield Fault(path, "Input should be a valid list")
                return
            for index, each in enumerate(value):
                yield from self._value(hint["list"], each, _under(path, index))
        elif "map" in hint:
            if not isinstance(value, dict):
                yield Fault(path, "Input should be a valid dictionary")
                return
            for key, each in value.items():
                yield from self._value(hint["map"], each, _under(path, key))
        else:
            yield from self._any(hint["any"], value, path)

    def _any(self, hints: Sequence[Any], value: Any, path: str) -> Iterator[Fault]:
        names = [h["ref"] for h in hints if isinstance(h, dict) and "ref" in h]
        if isinstance(value, dict) and names:
            yield from self._member(names, value, path)
            return
        found = [list(self._value(hint, value, path)) for hint in hints]
        if [] not in found:
            # What is of the right kind says what is wrong within it.
            yield from max(found, key=lambda each: len(each[0].path))

    def _member(self, names: Sequence[str], value: Any, path: str) -> Iterator[Fault]:
        """The member of a union that a value is, by its ``type`` or ``role``."""
        if not isinstance(value, dict):
            yield Fault(path, "Input should be a valid dictionary")
            return
        tag = "role" if "role" in _types()[names[0]]["fields"] else "type"
        tags = {name: _tags(name, tag) for name in names}
        given = value.get(tag)
        if given is None and "ToolParam" in names:
            given = "custom"
        fitting = [name for name in names if given in tags[name]]
        fitting = [name for name in fitting if not self._is_missing(name)]
        if not fitting and tag == "role":
            roles = [each for name in names for each in tags[name]]
            yield Fault(_under(path, tag), f"Input should be {_listed(roles)}")
            return
        if not fitting and len(names) > 1:
            expected = ", ".join(f"'{each}'" for name in names for each in tags[name])
            words = (
                f"Input tag '{given}' found using '{tag}' does not match any of the "
                f"expected tags: {expected}"
                if tag in value
                else f"Unable to extract tag using discriminator '{tag}'"
            )
            known = any(given in tags[name] for name in names)
            yield Fault(path, words, is_beta=known)
            return
        place = _under(path, given) if _is_tagged(names, tag, given) else path
        found = [list(self.typed(name, value, place)) for name in fitting or names]
        yield from min(found, key=len)


def _is_tagged(names: Sequence[str], tag: str, given: object) -> bool:
    several = len(names) > 1 or names[0] == "CacheControlEphemeralParam"
    return several and tag == "type" and isinstance(given, str)


def _tags(name: str, tag: str) -> Sequence[str]:
    hint = _types()[name]["fields"].get(tag, {"of": []})
    members = hint.get("any", [hint])
    return [each for m in members if isinstance(m, dict) for each in m.get("of", [])]


def _plain(hint: str, value: object) -> str | None:
    """The fault of a value without parts."""
    kinds: Mapping[str, tuple[tuple[type, ...], str]] = {
        "str": ((str,), "Input should be a valid string"),
        "bool": ((bool,), "Input should be a valid boolean"),
        "null": ((type(None),), "Input should be null"),
        "int": ((int,), "Input should be a valid integer"),
        "float": ((int, float), "Input should be a valid number"),
        "anything": ((object,), ""),
    }
    allowed, words = kinds[hint]
    if isinstance(value, bool) and hint in ("int", "float"):
        return words
    if hint == "int" and isinstance(value, float) and value.is_integer():
        return None
    return None if isinstance(value, allowed) else words


def _listed(values: Sequence[object]) -> str:
    quoted = [f"'{value}'" for value in values]
    return (
        quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    )


def _under(path: str, key: object) -> str:
    return f"{path}.{key}" if path else f"{key}"
