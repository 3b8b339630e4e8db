"""Streams put together to documents, by the words of the APIs' documents alone.

Nothing here is the proxy's, and no SDK forgives anything on the way.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

JSON = dict[str, Any]


def exact(text: str) -> Any:
    """JSON, with the spelling of its numbers, and fields that are there twice."""
    return json.loads(
        text,
        parse_float=lambda number: ("number", number),
        parse_int=lambda number: ("number", number),
        parse_constant=lambda word: ("word", word),
        object_pairs_hook=tuple,
    )


def folded_chat(chunks: Sequence[JSON]) -> JSON:
    """The ``chat.completion`` that the chunks of one choice add up to."""
    message: JSON = {}
    choice: JSON = {"index": 0, "message": message}
    usage = None
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        same = ("id", "created")
        assert [chunk[name] for name in same] == [chunks[0][name] for name in same]
        if not chunk["choices"]:
            usage = chunk["usage"]
            continue
        assert chunk["usage"] is None
        [piece] = chunk["choices"]
        assert choice.get("finish_reason") is None
        _add_to_message(message, piece["delta"])
        choice |= {name: value for name, value in piece.items() if name != "delta"}
    return {
        **{name: chunks[-1][name] for name in ("id", "created", "model")},
        "object": "chat.completion",
        "choices": [choice],
        "usage": usage,
    }


def _add_to_message(message: JSON, delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        match name, value:
            case "tool_calls", list():
                for call in value:
                    _add_to_call(message.setdefault(name, []), call)
            case "function_call", dict():
                _append(message.setdefault(name, {}), value)
            case "annotations" | "server_tool_errors", list():
                kept = message.setdefault(name, [])
                for each in value:
                    assert each.pop("index") == len(kept)
                    kept.append(each)
            case "reasoning_details", list():
                message.setdefault(name, []).extend(value)
            case "role", str():
                assert name not in message
                message[name] = value
            case _:
                _append(message, {name: value})


def _add_to_call(calls: list[JSON], piece: JSON) -> None:
    if piece["index"] == len(calls):
        calls.append({"id": piece["id"], "type": piece["type"]})
        assert piece["id"] is not None
    else:
        assert "id" not in piece
        assert piece["index"] == len(calls) - 1
    kind = calls[-1]["type"]
    _append(calls[-1].setdefault(kind, {}), piece[kind])


def _append(fields: JSON, added: Mapping[str, str | None]) -> None:
    for name, value in added.items():
        if value is None:
            fields.setdefault(name, None)
        else:
            fields[name] = (fields.get(name) or "") + value


_SNAPSHOTS = ("created", "queued", "in_progress", "completed", "incomplete", "failed")


def folded_response(events: Sequence[JSON]) -> JSON:
    """The response that the events add up to; its items are made of the deltas."""
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    items: list[JSON] = []
    response: JSON = {}
    is_open = False
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind in _SNAPSHOTS:
            response = event["response"]
            done = items[:-1] if is_open else items
            assert response["output"] == done
            continue
        if kind == "error":
            continue
        last = len(items) - 1
        match kind.split("."):
            case ["output_item", "added"]:
                assert not is_open
                assert event["output_index"] == len(items)
                items.append(event["item"])
                is_open = True
            case ["output_item", "done"]:
                assert event["output_index"] == last
                _assert_grown(items[-1], event["item"])
                items[-1] = event["item"]
                is_open = False
            case ["content_part" | "reasoning_summary_part", stage]:
                _at(event, items)
                parts = items[-1][_parts_of(items[-1])]
                if stage == "added":
                    assert _place(event) == len(parts)
                    parts.append(event["part"])
                else:
                    assert parts[_place(event)] == event["part"]
            case ["web_search_call", _]:
                _at(event, items)
                assert items[-1]["type"] == "web_search_call"
            case ["output_text", "annotation", "added"]:
                _at(event, items)
                part = items[-1]["content"][event["content_index"]]
                assert event["annotation_index"] == len(part["annotations"])
                part["annotations"].append(event["annotation"])
                place = event["annotation"]
                assert 0 <= place["start_index"] < place["end_index"]
                assert place["end_index"] == len(part["text"])
            case [_, stage]:
                _at(event, items)
                _add_text(items[-1], event, stage)
    assert not is_open
    return response


def _at(event: JSON, items: Sequence[JSON]) -> None:
    assert event["output_index"] == len(items) - 1
    assert event["item_id"] == items[-1]["id"]


def _place(event: JSON) -> int:
    found = [
        event[name] for name in ("content_index", "summary_index") if name in event
    ]
    return found[0] if found else -1


def _parts_of(item: JSON) -> str:
    return "summary" if item["type"] == "reasoning" else "content"


_TEXTS = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
}


def _add_text(item: JSON, event: JSON, stage: str) -> None:
    name = _TEXTS[event["type"].rpartition(".")[0]]
    holder = item if _place(event) < 0 else item[_parts_of(item)][_place(event)]
    if stage == "delta":
        assert event["delta"]
        holder[name] += event["delta"]
    else:
        assert holder[name] == event[name]


def _assert_grown(item: JSON, done: JSON) -> None:
    """The finished item is the one that grew, but for what comes at its end."""
    at_the_end = ("status", "encrypted_content", "action", "error")
    for name in {*item, *done} - {*at_the_end}:
        assert item[name] == done[name]


def folded_message(events: Sequence[JSON]) -> tuple[JSON, list[str]]:
    """The message that the events add up to, and the text of each block's input."""
    message: JSON = {}
    inputs: list[str] = []
    is_open = False
    for event in events:
        match event["type"]:
            case "ping":
                pass
            case "message_start":
                assert not message
                message = event["message"]
                assert message["content"] == []
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(message["content"])
                block = event["content_block"]
                message["content"].append(block)
                if block["type"] == "fallback":
                    message["model"] = block["to"]["model"]
                inputs.append("")
                is_open = True
            case "content_block_delta":
                assert event["index"] == len(message["content"]) - 1
                inputs[-1] += _add_to_block(message["content"][-1], event["delta"])
            case "content_block_stop":
                assert event["index"] == len(message["content"]) - 1
                is_open = False
            case "message_delta":
                assert not is_open
                others = ("type", "delta", "usage")
                message |= {k: v for k, v in event.items() if k not in others}
                message |= event["delta"]
                message["usage"] |= event["usage"]
            case other:
                assert other == "message_stop"
    return message, inputs


def _add_to_block(block: JSON, delta: JSON) -> str:
    """Add a delta to a block; returns what it adds to the text of its input."""
    match delta:
        case {"type": "text_delta", "text": piece}:
            block["text"] += piece
        case {"type": "thinking_delta", "thinking": piece}:
            block["thinking"] += piece
        case {"type": "citations_delta", "citation": citation}:
            block["citations"] = [*(block.get("citations") or ()), citation]
        case {"type": "signature_delta", "signature": signature}:
            block["signature"] = signature
        case {"type": "input_json_delta", "partial_json": str(piece)}:
            return piece
    return ""
