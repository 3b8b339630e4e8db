"""Completes items for the store and for lists of items. Pure.

The documents require fields that a client may leave out.

Source: ``ItemResource`` and ``ItemField`` in the two documents.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ccproxy.api.responses.items import DecodedItem
from ccproxy.core.encoding import encode_json

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "local_shell_call": "lsh",
    "local_shell_call_output": "lsho",
    "shell_call": "sh",
    "shell_call_output": "sho",
    "web_search_call": "ws",
    "compaction": "cmp",
}
# Of items with a type of another provider.
_OTHER_PREFIX = "item"


def documents(
    items: Sequence[DecodedItem], identifier: str, taken: Iterable[str] = ()
) -> list[tuple[str, bytes]]:
    """The items as they are stored and listed, each with its id.

    Args:
        items: with references resolved.
        identifier: a part of the ids of items that came without an id.
        taken: the ids of earlier items, which no item may have as well.
    """
    kept = []
    seen = set(taken)
    for index, item in enumerate(items):
        own = item.fields.id or ""
        prefix = _PREFIXES.get(item.fields.kind, _OTHER_PREFIX)
        if own in seen or not _ID.fullmatch(own):
            own = f"{prefix}_{identifier}i{index:04x}"
        seen.add(own)
        kept.append((own, encode_json(_completed(item, own))))
    return kept


def _completed(item: DecodedItem, identifier: str) -> dict[str, Any]:
    kind = item.fields.kind
    # To clients, null means absent; the documents forbid null in some fields.
    given = {k: v for k, v in msgspec.json.decode(item.raw).items() if v is not None}
    given |= {"type": kind, "id": identifier}
    if kind not in ("reasoning", "compaction"):
        given.setdefault("status", "completed")
    match kind:
        case "message":
            is_ours = given["role"] == "assistant"
            given["content"] = _parts(given.get("content"), is_ours)
        case "function_call":
            given["arguments"] = given.get("arguments") or "{}"
        case "custom_tool_call":
            given.setdefault("input", "")
        case "local_shell_call":
            given["action"] = {"type": "exec", "env": {}, **given["action"]}
        case "shell_call":
            limits = {"timeout_ms": None, "max_output_length": None}
            given["action"] = {**limits, **given["action"]}
            given.setdefault("environment", {"type": "local"})
        case "shell_call_output":
            given.setdefault("max_output_length", None)
        case "function_call_output" | "custom_tool_call_output":
            given["output"] = _result(given.get("output"))
        case "local_shell_call_output":
            given["call_id"] = item.fields.called_id
            given.setdefault("output", "")
        case "reasoning":
            given["summary"] = given.get("summary") or []
    return given


def _result(output: str | list[dict[str, Any]] | None) -> str | list[dict[str, Any]]:
    if output is None or isinstance(output, str):
        return output or ""
    return [_part(part, is_ours=False) for part in output]


def _parts(
    content: str | list[dict[str, Any]] | None, is_ours: bool
) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return [_part(part, is_ours=is_ours) for part in content]


def _part(part: dict[str, Any], *, is_ours: bool) -> dict[str, Any]:
    part = {name: value for name, value in part.items() if value is not None}
    match part["type"]:
        case "text" | "input_text" | "output_text" if is_ours:
            extra: dict[str, Any] = {"annotations": [], "logprobs": []}
            return {**extra, **part, "type": "output_text"}
        case "text" | "output_text":
            return {"type": "input_text", "text": part.get("text", "")}
        case "input_image":
            return {"detail": "auto", **part}
    return part
