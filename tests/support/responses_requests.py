"""Random requests of the Responses API, and what each means in the Messages API.

`expected` follows the documents of both APIs and uses no code of the proxy.

Source: OpenAI's OpenAPI document, `CreateResponse`, `InputItem`; the Messages API.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.support.chat_requests import (
    add_result,
    call_of,
    choice_of,
    choices,
    config_of,
    custom_names,
    custom_tool,
    document_of,
    efforts,
    file_parts,
    function_tools,
    image_of,
    image_parts,
    text_call_of,
    text_tool_of,
    tool_calls,
    tool_of,
)
from tests.support.messages_requests import (
    ALIASES,
    MODELS,
    grammar_schemas,
    system_texts,
    texts,
)
from tests.support.provider_models import model_rules

# Fields that do not go up, and are reported.
WITHOUT_EFFECT: Sequence[Mapping[str, Any]] = (
    *({}, {}, {}),
    *({"temperature": 0.2, "top_p": 0.5}, {"max_tool_calls": 3}),
    {"presence_penalty": 1.5, "frequency_penalty": -1.0},
    {"truncation": "auto"},
    {"context_management": [{"type": "compaction", "compact_threshold": 90000}]},
    {"user": "me", "safety_identifier": "x"},
    {"prompt_cache_key": "k"},
    *({"service_tier": "flex"}, {"moderation": {"model": "omni-moderation-latest"}}),
)
# Fields that are the server's, or with values that ask for what there is anyway.
AS_ALWAYS: Sequence[Mapping[str, Any]] = (
    *({}, {"metadata": {"a": "b"}}, {"truncation": "disabled"}, {"include": []}),
    *({"background": False}, {"previous_response_id": None}),
    {"include": ["reasoning.encrypted_content"]},
    {"prompt_cache_options": {"mode": "explicit"}},
)


@cache
def _input_texts() -> st.SearchStrategy[dict[str, Any]]:
    return texts.map(lambda text: {"type": "input_text", "text": text})


@cache
def _output_texts() -> st.SearchStrategy[dict[str, Any]]:
    about = {"type": "output_text", "annotations": [], "logprobs": []}
    refused = texts.map(lambda text: {"type": "refusal", "refusal": text})
    return texts.map(lambda text: {**about, "text": text}) | refused


@cache
def _input_images() -> st.SearchStrategy[dict[str, Any]]:
    return image_parts().map(
        lambda part: {
            "type": "input_image",
            "image_url": part["image_url"]["url"],
            "detail": "auto",
        }
    )


@cache
def _input_files() -> st.SearchStrategy[dict[str, Any]]:
    return file_parts().map(lambda part: {"type": "input_file", **part["file"]})


@cache
def _content(role: str) -> st.SearchStrategy[Any]:
    parts = _output_texts()
    if role == "user":
        parts = _input_texts() | _input_images() | _input_files()
    return texts | st.lists(parts, min_size=1, max_size=2)


@cache
def _instructed() -> st.SearchStrategy[dict[str, Any]]:
    part = st.builds(lambda text: {"type": "input_text", "text": text}, system_texts)
    return st.builds(
        lambda role, text: {"role": role, "content": text},
        st.sampled_from(["system", "developer"]),
        system_texts | st.lists(part, min_size=1, max_size=2),
    )


@cache
def _outputs() -> st.SearchStrategy[Any]:
    parts = _input_texts() | _input_images()
    return texts | st.just("") | st.lists(parts, min_size=1, max_size=2)


@st.composite
def _message(draw: st.DrawFn, role: str) -> dict[str, Any]:
    content = draw(_content(role))
    kind = draw(st.sampled_from([{}, {"type": "message"}]))
    if role == "assistant" and not isinstance(content, str):
        # As an answer has it, which is sent back as it came.
        kind = {"type": "message", "id": "msg_1", "status": "completed"}
    return {**kind, "role": role, "content": content}


# Another provider's: it is nothing to Claude, and is reported.
_foreign_reasoning = st.sampled_from([[], ["I think."], ["One.", "Two."]]).map(
    lambda texts: {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": text} for text in texts],
        "encrypted_content": "gAAAAABmFvcmVpZ24=",
    }
)


@st.composite
def _items(
    draw: st.DrawFn, known: Sequence[str], has_system_role: bool
) -> list[dict[str, Any]]:
    found = draw(st.lists(_instructed(), max_size=2))
    used: set[str] = set()
    for _ in range(draw(st.integers(0, 3))):
        found.append(draw(_message("user")))
        if has_system_role and draw(st.integers(0, 4)) == 0:
            found.append(draw(_instructed()))
        calls = draw(tool_calls(known)) if bool(known) and draw(st.booleans()) else []
        calls = [call for call in calls if call["id"] not in used]
        used.update(call["id"] for call in calls)
        if draw(st.integers(0, 4)) == 0:
            found.append(draw(_foreign_reasoning))
        if not calls or draw(st.booleans()):
            found.append(draw(_message("assistant")))
        found.extend(
            {"type": "function_call", "call_id": call["id"], **call["function"]}
            for call in calls
        )
        found.extend(
            {
                "type": "function_call_output",
                "call_id": call["id"],
                "output": draw(_outputs()),
            }
            for call in draw(st.permutations(calls))
        )
    ends_with_outputs = bool(found) and "output" in found[-1]
    if not ends_with_outputs or draw(st.booleans()):
        found.append(draw(_message("user")))
    return found


@st.composite
def responses_requests(
    draw: st.DrawFn, *, models: Sequence[str] = MODELS
) -> dict[str, Any]:
    """A valid request to ``/v1/responses`` that needs no correction."""
    model = draw(st.sampled_from(models))
    rules = model_rules(ALIASES.get(model, model))
    functions = draw(function_tools())
    known = [function["name"] for function in functions]
    request: dict[str, Any] = {
        "model": model,
        "input": draw(texts | _items(known, rules.system_role)),
        "store": False,
    }
    if draw(st.booleans()):
        request["instructions"] = draw(system_texts)
    if functions:
        # Both are required here, and null is allowed; without `strict` it is true.
        request["tools"] = [
            {"type": "function", "parameters": None, "strict": False, **function}
            for function in functions
        ]
        request |= draw(choices())
        customs = draw(custom_names(known))
        plain = [name for name in known if name not in customs]
        _set_customs(request, customs)
        if plain and draw(st.integers(0, 5)) == 0:
            allowed = draw(st.lists(st.sampled_from(plain), min_size=1, unique=True))
            request["tool_choice"] = {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": name} for name in allowed],
            }
    if draw(st.booleans()):
        request["max_output_tokens"] = draw(st.integers(16, 4000))
    if rules.efforts and draw(st.booleans()) is True:
        request["reasoning"] = {"effort": draw(st.sampled_from(efforts))}
    form = draw(st.sampled_from([None, None, "text", "json_schema"]))
    if form == "json_schema":
        schema = {"name": "answer", "schema": draw(grammar_schemas()), "strict": True}
        request["text"] = {"format": {"type": form, **schema}}
    elif form:
        request["text"] = {"format": {"type": form}}
    request |= draw(st.sampled_from(WITHOUT_EFFECT)) | draw(st.sampled_from(AS_ALWAYS))
    return request | draw(st.sampled_from([{}, {"stream": True}, {"stream": False}]))


def _set_customs(request: dict[str, Any], names: Sequence[str]) -> None:
    """Make custom tools of some tools, with their calls and outputs."""
    request["tools"] = [
        {"type": "custom", **custom_tool(tool)} if tool["name"] in names else tool
        for tool in request["tools"]
    ]
    items = request["input"]
    called = set()
    for item in items if isinstance(items, list) else ():
        kind = item.get("type")
        if kind == "function_call" and item["name"] in names:
            called.add(item["call_id"])
            item["type"] = "custom_tool_call"
            item["input"] = item.pop("arguments")
        elif kind == "function_call_output" and item["call_id"] in called:
            item["type"] = "custom_tool_call_output"


def expected(request: Mapping[str, Any]) -> dict[str, Any]:
    """The equal request of the Messages API.

    Fields that the client does not set are left out, ``max_tokens`` too.
    """
    system: list[dict[str, Any]] = []
    if "instructions" in request:
        system.append({"type": "text", "text": request["instructions"]})
    turns: list[dict[str, Any]] = []
    given = request["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for item in items:
        kind = item.get("type", "message")
        if kind == "reasoning":
            continue
        if kind == "function_call":
            call = call_of(item["call_id"], item["name"], item["arguments"])
            turns.append({"role": "assistant", "content": [call]})
        elif kind == "custom_tool_call":
            call = text_call_of(item["call_id"], item["name"], item["input"])
            turns.append({"role": "assistant", "content": [call]})
        elif kind in ("function_call_output", "custom_tool_call_output"):
            result = {
                "type": "tool_result",
                "tool_use_id": item["call_id"],
                "content": _blocks(item["output"]),
            }
            add_result(turns, result)
        elif item["role"] in ("user", "assistant"):
            turns.append({"role": item["role"], "content": _blocks(item["content"])})
        elif turns:
            turns.append({"role": "system", "content": _blocks(item["content"])})
        else:
            system.extend(_blocks(item["content"]))
    body: dict[str, Any] = {"model": request["model"], "messages": turns}
    if system:
        body["system"] = system
    if "max_output_tokens" in request:
        body["max_tokens"] = request["max_output_tokens"]
    if "tools" in request:
        choice, offered = request.get("tool_choice"), request["tools"]
        if isinstance(choice, dict):
            allowed = [tool["name"] for tool in choice["tools"]]
            offered = [tool for tool in offered if tool["name"] in allowed]
        body["tools"] = [
            text_tool_of(tool) if tool["type"] == "custom" else tool_of(tool)
            for tool in offered
        ]
        body["tool_choice"] = choice_of(request)
    form = request.get("text", {}).get("format", {"type": "text"})
    schema = form["schema"] if form["type"] == "json_schema" else None
    return body | config_of(request.get("reasoning", {}).get("effort"), schema)


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [_block(part) for part in content]


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "input_image":
        return image_of(part["image_url"])
    if part["type"] == "input_file":
        return document_of(part["file_data"], part["filename"])
    text = part["refusal"] if part["type"] == "refusal" else part["text"]
    return {"type": "text", "text": text}
