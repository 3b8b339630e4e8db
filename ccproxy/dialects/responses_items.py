"""The items that a conversation consists of in Responses. Pure.

An item is kept as it came, completed to what a listing of items has to show; what
is kept is read again by the same decoder, so an item means the same to the model
whether a client sends it or the store.

==========================  ==================================================
``message``                 text, images and files of one role
``reasoning``               thinking; native if its seal is there
``function_call``           a call of a tool
``function_call_output``    its result
``compaction``              a conversation's summary, sealed
``item_reference``          an item that is kept, by its id
==========================  ==================================================

Source: ``ItemParam`` and ``ItemField`` of Open Responses; ``InputItem`` and
``ItemResource`` of OpenAI.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from attrs import evolve, frozen

from ccproxy.conversation import RedactedThinkingBlock, ThinkingBlock
from ccproxy.dialects import tools
from ccproxy.dialects.decoding import decode_json
from ccproxy.dialects.encoding import encode_json
from ccproxy.dialects.prompting import Part, Said
from ccproxy.dialects.refusal import unsupported
from ccproxy.errors import InvalidRequest, MissingParameter

# What a client includes to be shown what it carries for us.
SHOW_SEALS = "reasoning.encrypted_content"
_REFERENCE = "item_reference"
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "compaction": "cmp",
}
# What the model is told where a conversation was compacted.
_SUMMARY = "The conversation before this point was summarized:\n\n{}"


class Unsealer(Protocol):
    """Who opens what clients carry for us."""

    def open(self, sealed: str, at: str) -> Mapping[str, str]:
        """What was sealed; raises `InvalidSeal`."""


class _Item(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    # Of calls and their outputs.
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""
    output: str | list[Part] | None = None
    # Of reasoning and compaction.
    encrypted_content: str | None = None
    status: str | None = None

    @property
    def kind(self) -> str:
        """The type; messages and references may come without."""
        if self.type is not None:
            return self.type
        is_reference = self.id is not None and self.role is None
        return _REFERENCE if is_reference else "message"


# Reasoning has contents of its own, which are not what the model takes back.
_decoder = msgspec.json.Decoder(_Item)
_anything = msgspec.json.Decoder(dict[str, Any])


@frozen
class Item:
    """One item, decoded.

    Attributes:
        at: its path in the request.
        raw: its JSON as it came.
    """

    at: str
    raw: bytes
    fields: _Item

    @property
    def wanted_id(self) -> str | None:
        """The id of the kept item that is meant; None: this is the item."""
        match self.fields:
            case _Item(kind="item_reference", id=str(identifier)):
                return identifier
            case _Item(kind="reasoning", id=str(identifier), encrypted_content=None):
                return identifier
        return None


def decode_items(given: str | Sequence[bytes], param: str) -> tuple[Item, ...]:
    """Decode what a request says.

    Args:
        given: the text of a message of the user, or the JSON of each item.
        param: the field that holds them.

    Raises:
        ClientError: an item that means nothing; with its path.
    """
    if isinstance(given, str):
        raw = encode_json({"type": "message", "role": "user", "content": given})
        return (Item(param, raw, _Item("message", role="user", content=given)),)
    return tuple(_decode(raw, f"{param}[{n}]") for n, raw in enumerate(given))


def kept_items(documents: Sequence[bytes], param: str) -> tuple[Item, ...]:
    """Decode what was kept; the field ``param`` is why they are here."""
    return tuple(Item(param, raw, _decoder.decode(raw)) for raw in documents)


def _decode(raw: bytes, at: str) -> Item:
    item = Item(at, raw, decode_json(_decoder, raw, at=at))
    # Fields that nobody reads are kept all the same, so they have to be sound.
    decode_json(_anything, raw, at=at)
    match item.fields.kind:
        case "message":
            _required(item.fields.role, f"{at}.role")
        case "function_call":
            _required(item.fields.name, f"{at}.name")
            _required(item.fields.call_id, f"{at}.call_id")
        case "function_call_output":
            _required(item.fields.call_id, f"{at}.call_id")
        case "item_reference":
            _required(item.fields.id, f"{at}.id")
        case "compaction":
            _required(item.fields.encrypted_content, f"{at}.encrypted_content")
        case "reasoning":
            pass
        case other:
            unsupported(f"{at}.type", f"there are no items of type {other!r} so far")
    return item


def _required(value: str | None, param: str) -> str:
    if value is None:
        raise MissingParameter(f"`{param}` is missing", param=param)
    return value


def resolve(items: Sequence[Item], kept: Mapping[str, bytes]) -> tuple[Item, ...]:
    """Put what is kept in the place of what refers to it.

    Raises:
        InvalidRequest: a reference to what is not kept.
    """
    return tuple(_resolved(item, kept) for item in items)


def _resolved(item: Item, kept: Mapping[str, bytes]) -> Item:
    found = kept.get(item.wanted_id) if item.wanted_id is not None else None
    if found is not None:
        return evolve(item, raw=found, fields=_decoder.decode(found))
    if item.fields.kind == _REFERENCE:
        raise InvalidRequest(
            f"`{item.at}`: there is no item {item.fields.id!r} here; it was not kept "
            "(`store: false`), is deleted, or belongs to another server: send the item "
            "itself",
            param=f"{item.at}.id",
        )
    return item


def said(items: Sequence[Item], unsealer: Unsealer) -> list[Said]:
    """What the items say, in order.

    Raises:
        ClientError: an item that cannot be told to the model.
    """
    told = [_said(item, unsealer) for item in items]
    return [message for message in told if message is not None]


def _said(item: Item, unsealer: Unsealer) -> Said | None:
    at, fields = item.at, item.fields
    match fields.kind:
        case "message":
            return Said(at, fields.role or "", fields.content)
        case "function_call" if fields.status == "incomplete":
            # It was cut off: there is nothing in it that could have a result.
            return None
        case "function_call":
            call = tools.called(
                fields.call_id or "", fields.name or "", fields.arguments, at
            )
            return Said(at, "assistant", None, (call,))
        case "function_call_output":
            return Said(
                at, "tool", fields.output, result_of=fields.call_id, field="output"
            )
        case "compaction":
            where = f"{at}.encrypted_content"
            opened = unsealer.open(fields.encrypted_content or "", where)
            return Said(at, "user", _SUMMARY.format(opened.get("summary", "")))
        case "reasoning" if fields.encrypted_content:
            where = f"{at}.encrypted_content"
            opened = unsealer.open(fields.encrypted_content, where)
            return Said(at, "assistant", None, thinking=(_thinking(opened),))
    # Thinking without its signature cannot be given back.
    return None


def _thinking(opened: Mapping[str, str]) -> ThinkingBlock | RedactedThinkingBlock:
    if "data" in opened:
        return RedactedThinkingBlock(opened["data"], opened.get("model", ""))
    return ThinkingBlock(
        opened.get("thinking", ""),
        opened.get("signature", ""),
        opened.get("model", ""),
    )


def has_seals(items: Sequence[Item]) -> bool:
    """Whether any of them has to be opened."""
    return any(item.fields.encrypted_content for item in items)


def documents(
    items: Sequence[Item], identifier: str, taken: Iterable[str] = ()
) -> list[tuple[str, bytes]]:
    """The items as they are kept and listed, each with its id.

    Args:
        items: references resolved.
        identifier: makes ids for those that came without.
        taken: the ids of the items before them: each id is there once.
    """
    kept = []
    seen = set(taken)
    for index, item in enumerate(items):
        own = item.fields.id or ""
        prefix = _PREFIXES[item.fields.kind]
        if own in seen or not _ID.fullmatch(own):
            own = f"{prefix}_{identifier}i{index:04x}"
        seen.add(own)
        kept.append((own, encode_json(_completed(item, own))))
    return kept


def _completed(item: Item, identifier: str) -> dict[str, Any]:
    given: dict[str, Any] = msgspec.json.decode(item.raw)
    given |= {"type": item.fields.kind, "id": identifier}
    match item.fields.kind:
        case "message":
            is_ours = given["role"] == "assistant"
            given["content"] = _parts(given.get("content"), is_ours)
            given["status"] = given.get("status") or "completed"
        case "function_call":
            given["arguments"] = given.get("arguments") or "{}"
            given["status"] = given.get("status") or "completed"
        case "function_call_output":
            given["output"] = _result(given.get("output"))
            given["status"] = given.get("status") or "completed"
        case "reasoning":
            given["summary"] = given.get("summary") or []
    # Absent and null are one to clients, but not to both documents.
    return {name: value for name, value in given.items() if value is not None}


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
