"""Checks a body by the rules of the Messages API, as the provider does.

The numbers are those of docs/messages-api-rules.md; what cannot be seen on one body is
not checked (13, 20, 26, 27, 44 to 47, 50). The words are the provider's where they are
known from public reports, else in its manner.

Source: the rules with their sources; anthropic-python 2.14 for keys and types; the
provider's pages on preserved thinking for rule 25.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from attrs import field, frozen

from tests.support.provider_calls import THINKING, call_violations
from tests.support.provider_models import model_rules
from tests.support.provider_thinking import Signature, prefixes, read_signature
from tests.support.provider_tools import tool_violations
from tests.support.provider_types import Fault, faults
from tests.support.provider_values import value_violations
from tests.support.provider_violation import Violation

_MOST_MESSAGES = 100_000
_MOST_BYTES = 32_000_000
_SURROGATE = re.compile("[\ud800-\udfff]")
_BINDING_BETA = "thinking-binding-controls-2026-08-01"


@frozen(kw_only=True)
class Issued:
    """The signatures and redacted blocks that a test's script gave out.

    Attributes:
        signatures: what each stands for, by its text.
    """

    signatures: Mapping[str, Collection[Signature]] = field(factory=dict)

    def find(self, text: str) -> Collection[Signature]:
        """What a signature says; None: the script did not give it out."""
        own = read_signature(text)
        return [own] if own is not None else self.signatures.get(text, ())


def violations(
    body: Mapping[str, Any],
    *,
    betas: Collection[str],
    size: int | None = None,
    issued: Issued | None = None,
    prefix_check: bool = True,
) -> list[Violation]:
    """The violations in a request; the provider reports the first.

    Args:
        body: the body of a request to ``/v1/messages``.
        betas: the names in its ``anthropic-beta`` header.
        size: how many bytes it came in.
        issued: signatures that are good though the scripted API did not make them.
        prefix_check: refuse thinking behind another prefix; else it is dropped, as
            for accounts from before 2026-08-31.
    """
    found = [*_size(body, size), *_count(body)]
    if found:
        # What is too long is not looked at.
        return found
    found = list(_surrogates(body, ""))
    # 7 and 48: nothing else can be looked at where the shape is not right.
    found.extend(
        Violation.at(_rule(fault), fault.path, fault.words)
        for fault in faults(body, betas)
    )
    if found:
        return found
    rules = model_rules(body["model"])
    found.extend(_messages(body))
    found.extend(_roles(body, rules.system_role))
    found.extend(call_violations(body))
    found.extend(_prefill(body, rules.prefill))
    found.extend(tool_violations(body, rules))
    found.extend(value_violations(body, rules, betas))
    found.extend(_thinking_blocks(body))
    found.extend(
        _signatures(
            body, betas, issued or Issued(), prefix_check and rules.prefix_check
        )
    )
    return found


def _rule(fault: Fault) -> int:
    """The rule that a wrong shape breaks."""
    if fault.is_beta:
        return 48
    if ".input_schema" in fault.path:
        return 31
    return 11 if fault.path.endswith("tool_use.input") else 7


def _size(body: Mapping[str, Any], size: int | None) -> Iterator[Violation]:
    """8: 32 MB a request."""
    bytes_ = len(json.dumps(body)) if size is None else size
    if bytes_ > _MOST_BYTES:
        yield Violation(8, "", "Request exceeds the maximum size", 413)


def _count(body: Mapping[str, Any]) -> Iterator[Violation]:
    """2: 100,000 messages a request."""
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > _MOST_MESSAGES:
        words = f"List should have at most {_MOST_MESSAGES} items"
        yield Violation.at(2, "messages", words)


def _surrogates(value: Any, path: str) -> Iterator[Violation]:
    """6: JSON with half a surrogate."""
    if isinstance(value, str):
        if _SURROGATE.search(value):
            words = "The request body is not valid JSON: no low surrogate in string"
            yield Violation(6, path, words)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _surrogates(key, path)
            yield from _surrogates(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _surrogates(each, f"{path}.{index}")


def _messages(body: Mapping[str, Any]) -> Iterator[Violation]:
    """2, 3 and 12: there are messages, and they are not empty."""
    messages = body["messages"]
    if not messages:
        yield Violation.at(2, "messages", "at least one message is required")
    for number, message in enumerate(messages):
        content = message.get("content")
        place = f"messages.{number}"
        if content in (None, "", []) and not _may_be_empty(message):
            words = f"{message['role']} messages must have non-empty content"
            yield Violation.at(3, place, words)
        elif isinstance(content, str) and content and not content.strip():
            words = "text content blocks must contain non-whitespace text"
            yield Violation(3, place, f"messages: {words}")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            yield from _text(block, f"{place}.content.{index}", "messages")
    system = body.get("system", [])
    for index, block in enumerate(system if isinstance(system, list) else ()):
        yield from _text(block, f"system.{index}", "system")


def _may_be_empty(message: Mapping[str, Any]) -> bool:
    # A system message may be there for its output_config alone.
    return message["role"] == "system" and bool(message.get("output_config"))


def _text(block: Mapping[str, Any], place: str, top: str) -> Iterator[Violation]:
    if block["type"] == "tool_result":
        nested = block.get("content")
        for index, each in enumerate(nested if isinstance(nested, list) else ()):
            if each["type"] == "text" and not each["text"]:
                words = "text content blocks must be non-empty"
                yield Violation(12, f"{place}.content.{index}", f"{top}: {words}")
        for index, each in enumerate(nested if isinstance(nested, list) else ()):
            if each["type"] != "text":
                yield from _text(each, f"{place}.content.{index}", top)
    elif block["type"] == "document" and block["source"]["type"] == "content":
        yield from _texts(block["source"]["content"], f"{place}.source.content", top)
    elif block["type"] == "search_result":
        yield from _texts(block["content"], f"{place}.content", top)
    elif block["type"] == "text" and not block["text"].strip():
        if block.get("cache_control"):
            words = "cache_control cannot be set for empty text blocks"
            yield Violation.at(3, f"{place}.text", words)
        kind = "contain non-whitespace text" if block["text"] else "be non-empty"
        yield Violation(3, place, f"{top}: text content blocks must {kind}")


def _texts(content: Any, place: str, top: str) -> Iterator[Violation]:
    """3, for the content of a document or a search result."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for index, each in enumerate(content):
        yield from _text(each, f"{place}.{index}", top)


def _roles(body: Mapping[str, Any], has_system_role: bool) -> Iterator[Violation]:
    """5: the places and models of messages with the role ``system``."""
    runs = [
        (role, [message for _, message in run])
        for role, run in groupby(
            enumerate(body["messages"]), key=lambda each: each[1]["role"]
        )
    ]
    number = 0
    for index, (role, run) in enumerate(runs):
        place = f"messages.{number}"
        number += len(run)
        if role != "system":
            continue
        if not has_system_role:
            yield Violation(5, place, "role 'system' is not supported on this model")
            return
        before = runs[index - 1] if index else None
        if before is None or not _may_precede_system(*before):
            words = (
                "a `system` message must follow a `user` message, or an `assistant` "
                "message that ends with a server tool"
            )
            yield Violation.at(5, place, words)
        if index + 1 < len(runs) and runs[index + 1][0] != "assistant":
            words = (
                "a `system` message must be the last message, or be followed by an "
                "`assistant` message"
            )
            yield Violation.at(5, place, words)


def _may_precede_system(role: str, run: Sequence[Mapping[str, Any]]) -> bool:
    return role == "user" or _ends_in_server_tool(run[-1])


def _ends_in_server_tool(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return False
    kind: str = content[-1]["type"]
    return kind == "server_tool_use" or kind.endswith("_tool_result")


def _prefill(body: Mapping[str, Any], is_allowed: bool) -> Iterator[Violation]:
    """4: an assistant's message at the end."""
    if not body["messages"] or body["messages"][-1]["role"] != "assistant":
        return
    last = body["messages"][-1]
    if _ends_in_server_tool(last):
        return
    place = f"messages.{len(body['messages']) - 1}"
    if not is_allowed:
        words = (
            "This model does not support assistant message prefill. The conversation "
            "must end with a user message."
        )
        yield Violation(4, place, words)
        return
    content = last["content"]
    text = content if isinstance(content, str) else content[-1].get("text", "")
    if text != text.rstrip():
        words = "final assistant content cannot end with trailing whitespace"
        yield Violation(4, place, f"messages: {words}")


def _thinking_blocks(body: Mapping[str, Any]) -> Iterator[Violation]:
    """21, 22 and 23: where thinking must be, and where it must not be."""
    turns = _assistant_turns(body)
    for number, blocks in turns:
        if blocks[-1]["type"] in THINKING:
            words = "The final block in an assistant message cannot be `thinking`."
            yield Violation.at(23, f"messages.{number}", words)
    if not turns:
        return
    number, last = turns[-1]
    kind = (body.get("thinking") or {}).get("type")
    is_off = kind == "disabled" or (
        kind is None and not model_rules(body["model"]).thinks_by_default
    )
    if is_off and any(block["type"] in THINKING for block in last):
        words = (
            "When `thinking` is disabled, an `assistant` message in the final position "
            "cannot contain `thinking`. To use thinking blocks, enable `thinking` in "
            "your request."
        )
        yield Violation.at(22, f"messages.{number}.content.0.type", words)
    is_loop = any(block["type"] == "tool_use" for block in last)
    if kind == "enabled" and is_loop and last[0]["type"] not in THINKING:
        words = (
            f"Expected `thinking` or `redacted_thinking`, but found `{last[0]['type']}`"
            ". When `thinking` is enabled, a final `assistant` message must start with "
            "a thinking block (preceeding the lastmost set of `tool_use` and "
            "`tool_result` blocks)."
        )
        yield Violation.at(21, f"messages.{number}.content.0.type", words)


def _assistant_turns(
    body: Mapping[str, Any],
) -> list[tuple[int, Sequence[Mapping[str, Any]]]]:
    """Each turn of the assistant: the number of its first message, and its blocks."""
    turns: list[tuple[int, list[Mapping[str, Any]]]] = []
    previous = None
    for number, message in enumerate(body["messages"]):
        if message["role"] == "assistant":
            content = message["content"]
            texts = [{"type": "text", "text": content}] if content else []
            blocks = content if isinstance(content, list) else texts
            if previous == "assistant" and turns:
                turns[-1][1].extend(blocks)
            elif blocks:
                turns.append((number, list(blocks)))
        previous = message["role"]
    return [(number, blocks) for number, blocks in turns]


def _signatures(
    body: Mapping[str, Any],
    betas: Collection[str],
    issued: Issued,
    is_bound: bool,
) -> Iterator[Violation]:
    """24 and 25: thinking is unchanged, and so is the conversation before it."""
    blocks = {
        f"messages.{number}.content.{index}": block
        for number, message in enumerate(body["messages"])
        for index, block in enumerate(message.get("content") or ())
        if isinstance(block, Mapping) and block["type"] in THINKING
    }
    if not blocks:
        return
    binding = (body.get("thinking") or {}).get("block_binding") or {}
    is_dropped = binding.get("prefix_mismatch_behavior") == "drop_block"
    for place, prefix in prefixes(body):
        block = blocks.get(place)
        if block is None:
            continue
        kind = block["type"]
        invalid = f"Invalid `signature` in `{kind}` block"
        made = issued.find(block["data" if kind != "thinking" else "signature"])
        if not made:
            yield Violation.at(24, place, invalid)
            continue
        # Blocks that another model made are dropped without a word.
        own = [each for each in made if each.model == body["model"]]
        elsewhere = all(each.prefix != prefix for each in own)
        if is_bound and not is_dropped and own and elsewhere:
            yield Violation.at(25, place, _bound(invalid, betas))


def _bound(invalid: str, betas: Collection[str]) -> str:
    words = (
        f"{invalid}. The block is bound to a different conversation. Remove the block, "
        'or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
    )
    if _BINDING_BETA in betas:
        return words
    return (
        f"{words} That setting requires the `{_BINDING_BETA}` value in the "
        "`anthropic-beta` header."
    )
