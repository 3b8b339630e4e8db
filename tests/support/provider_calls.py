"""The provider's rules for calls and their results.

Rules 9, 10 and 14 to 16 of the rules of the Messages API (see `provider_rules`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.support.provider_violation import Violation

THINKING = ("thinking", "redacted_thinking")
_ID = re.compile(r"[a-zA-Z0-9_-]+")


def call_violations(body: Mapping[str, Any]) -> Iterator[Violation]:
    """9, 10, 14, 15 and 16: calls, their ids, and their results."""
    waiting: list[str] = []
    programmatic = False
    seen: set[str] = set()
    asked_at = 0
    for number, message in enumerate(body["messages"]):
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        if message["role"] != "assistant" and (waiting or _results(blocks)):
            yield from _answered(blocks, waiting, number, asked_at, programmatic)
            waiting, programmatic = [], False
        for index, block in enumerate(blocks):
            place = f"messages.{number}.content.{index}"
            yield from _placed(block, message["role"], place)
            if block["type"] == "tool_use":
                yield from _identified(block["id"], "tool_use.id", place, seen)
                waiting.append(block["id"])
                asked_at = number
                caller = block.get("caller") or {"type": "direct"}
                programmatic = programmatic or caller["type"] != "direct"
    if waiting:
        yield _unanswered(waiting, asked_at)
    if (seen or _has_results(body)) and not body.get("tools"):
        words = (
            "Requests which have `tool_use` or `tool_result` blocks in messages must "
            "define tools."
        )
        yield Violation(15, "tools", words)


def _results(blocks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [block for block in blocks if block["type"] == "tool_result"]


def _has_results(body: Mapping[str, Any]) -> bool:
    contents = (message.get("content") for message in body["messages"])
    return any(isinstance(c, list) and _results(c) for c in contents)


def _answered(
    blocks: Sequence[Mapping[str, Any]],
    waiting: Sequence[str],
    number: int,
    asked_at: int,
    programmatic: bool,
) -> Iterator[Violation]:
    """Whether the message after some calls begins with all their results."""
    leading = 0
    while leading < len(blocks) and blocks[leading]["type"] == "tool_result":
        leading += 1
    given: list[str] = []
    for index, block in enumerate(blocks):
        if block["type"] != "tool_result":
            continue
        identifier = block["tool_use_id"]
        place = f"messages.{number}.content.{index}"
        if identifier not in waiting:
            words = (
                f"unexpected `tool_use_id` found in `tool_result` blocks: {identifier}."
                " Each `tool_result` block must have a corresponding `tool_use` block "
                "in the previous message."
            )
            yield Violation.at(9, place, words)
        elif identifier in given:
            words = (
                "each tool_use must have a single result. Found multiple `tool_result` "
                f"blocks with id: {identifier}"
            )
            yield Violation.at(9, place, words)
        if index < leading:
            given.append(identifier)
        nested = block.get("content")
        for each in nested if isinstance(nested, list) else ():
            if each.get("cache_control"):
                words = "cache_control is not supported inside `tool_result` blocks"
                yield Violation.at(14, f"{place}.tool_result.content", words)
    missing = [identifier for identifier in waiting if identifier not in given]
    if missing:
        yield _unanswered(missing, asked_at)
    if programmatic and leading != len(blocks):
        words = "the answer to a programmatic call may have only `tool_result` blocks"
        yield Violation.at(16, f"messages.{number}", words)


def _unanswered(identifiers: Sequence[str], number: int) -> Violation:
    words = (
        "`tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(identifiers)}. Each `tool_use` block must have a corresponding "
        "`tool_result` block in the next message."
    )
    return Violation.at(9, f"messages.{number}", words)


def _placed(block: Mapping[str, Any], role: str, place: str) -> Iterator[Violation]:
    """9: which role may have which block."""
    owners = {"tool_use": "assistant", "server_tool_use": "assistant"}
    owners |= {"tool_result": "user", **dict.fromkeys(THINKING, "assistant")}
    owner = owners.get(block["type"], role)
    if owner != role:
        words = f"`{block['type']}` blocks can only be in `{owner}` messages"
        yield Violation.at(9, place, words)


def _identified(
    identifier: str, key: str, place: str, seen: set[str]
) -> Iterator[Violation]:
    """10: the form of ids, and that each is there once."""
    if not _ID.fullmatch(identifier):
        words = "String should match pattern '^[a-zA-Z0-9_-]+$'"
        yield Violation.at(10, f"{place}.{key}", words)
    if identifier in seen:
        yield Violation.at(10, place, "`tool_use` ids must be unique")
    seen.add(identifier)
