"""Whether a client has what the provider said, and sends it back whole."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.comparison import printed
from tests.support.docs import DOCS, rows
from tests.support.scripted_answers import BEGUN, ScriptedAnswer
from tests.support.sdk_clients import (
    Call,
    ChatClient,
    Got,
    MessagesClient,
    ResponsesClient,
    SDKClient,
    result_text,
)

STOPS = {
    reason.strip("`"): [re.findall("`(.*?)`", words) for words in told]
    for reason, *told in rows(DOCS / "api.md", "stops")
}
_BLANKS = re.compile("[\\s\ufeff\x85]+")


def handed_out(answer: ScriptedAnswer, got: Got, client: SDKClient) -> None:
    """The client has what the provider said."""
    said = [block for block in answer.blocks if block.type == "text"]
    assert got.text == "".join(block.joined("text") for block in said)
    calls = [block for block in answer.blocks if block.type == "tool_use"]
    is_legacy = isinstance(client, ChatClient) and client.is_legacy
    if is_legacy:
        # Its form has no place for a second call.
        calls = calls[:1]
    assert [call.name for call in got.calls] == [made.start["name"] for made in calls]
    for call, made in zip(got.calls, calls, strict=True):
        assert is_legacy or call.id == made.start["id"]
        arguments = made.arguments
        if isinstance(client, MessagesClient):
            wanted, is_altered = meant(Call("", "", arguments))
            assert is_altered or printed(call.arguments) == printed(wanted)
        elif isinstance(call.arguments, str) and call.arguments not in ("", "{}"):
            # Without a piece of them, whole arguments are `{}`, and others empty.
            assert call.arguments == arguments
    assert got.stop == stop_of(answer, client, has_calls=bool(calls))
    details = answer.stop.get("stop_details", {})
    explained = "" if isinstance(client, MessagesClient) else details.get("explanation")
    assert got.refusal == (explained or "")
    if answer.reason is not None and got.usage is not None:
        told = got.usage.get("output_tokens", got.usage.get("completion_tokens"))
        assert told == (answer.usage or BEGUN)["output_tokens"]


def stop_of(answer: ScriptedAnswer, client: SDKClient, *, has_calls: bool) -> Any:
    """The client's words for why the model stopped, as the table in the docs has it."""
    if answer.reason is None or isinstance(client, MessagesClient):
        return answer.reason
    alone, with_calls, response = STOPS.get(answer.reason, STOPS["any other"])
    if isinstance(client, ResponsesClient):
        status, *why = response
        return status, why[0] if why else None
    [word] = with_calls if has_calls else alone
    is_legacy = isinstance(client, ChatClient) and client.is_legacy
    return "function_call" if is_legacy and word == "tool_calls" else word


def held(got: Got, body: Mapping[str, Any], named: Sequence[str]) -> None:
    """The request holds what the client has, or names what it does not hold."""
    said = blocks(body, "assistant")
    texts = [block["text"] for block in said if block["type"] == "text"]
    assert squeezed("".join(texts)) == squeezed(got.text + got.refusal)
    calls = [block for block in said if block["type"] == "tool_use"]
    results = {
        block["tool_use_id"]: block["content"]
        for block in blocks(body, "user")
        if block["type"] == "tool_result"
    }
    assert len(calls) == len(got.calls)
    for number, (call, sent) in enumerate(zip(got.calls, calls, strict=True)):
        wanted, is_altered = meant(call)
        assert printed(sent["input"]) == printed(wanted)
        if is_altered:
            assert any(path.startswith(call.at) for path in named), (call, named)
        content = results[sent["id"]]
        told = content if isinstance(content, str) else content[0]["text"]
        assert told == result_text(number)
    kept = [b for b in said if b["type"] in ("thinking", "redacted_thinking")]
    told = [path for path in got.thoughts if not names(named, path)]
    assert len(kept) >= len(told), (got.thoughts, named)


def names(named: Sequence[str], path: str) -> bool:
    return any(each == path or each.startswith(f"{path}.") for each in named)


def meant(call: Call) -> tuple[Any, bool]:
    """The object that a call's arguments go up as, and whether it is another form."""
    given = call.arguments
    if isinstance(given, str):
        if not given.strip():
            return {}, True
        try:
            value = read(given)
        except ValueError:
            return {"arguments": given}, True
        if isinstance(value, dict):
            return value, is_reprinted(given)
        if value is None:
            return {}, True
        if isinstance(value, str):
            try:
                inner = read(value)
            except ValueError:
                inner = None
            if isinstance(inner, dict):
                return inner, True
        return {"arguments": given}, True
    if isinstance(given, dict):
        return given, is_reprinted(json.dumps(given))
    if given is None:
        return {}, True
    if isinstance(given, str):
        return meant(Call(call.id, call.name, given))
    return {"arguments": given}, True


def read(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def is_reprinted(text: str) -> bool:
    """Whether JavaScript reads and prints it otherwise, keys and spaces aside."""
    duplicates: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in found}) < len(found):
            duplicates.append("")
        return dict(found)

    value = json.loads(text, object_pairs_hook=pairs)
    return bool(duplicates) or repr(printed(value)) != repr(value)


def blocks(body: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    """The blocks behind the question, of the messages of a role."""
    found: list[dict[str, Any]] = []
    for message in body["messages"][1:]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        found += content if message["role"] == role else ()
    return found


def squeezed(text: str) -> str:
    return _BLANKS.sub("", text)
