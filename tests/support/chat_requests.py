"""Random chat completions requests, and what each means in the Messages API.

`expected` follows the documents of both APIs and uses no code of the proxy. Fields
without a counterpart (``user``, ``seed`` …) are set in some requests. Requests that the
proxy would correct (blank texts, odd ids and names, calls without a result) are left
out.

Source: OpenAI's OpenAPI document, `CreateChatCompletionRequest`; the Messages API.
"""

import base64
import json
import string
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.support.messages_requests import (
    ALIASES,
    MODELS,
    PDF,
    grammar_schemas,
    json_objects,
    names,
    png,
    schemas,
    system_texts,
    texts,
)
from tests.support.provider_models import model_rules

_DATA_URL = "data:image/png;base64,"
_PLAIN = "plain text \u2028 of a file"
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}
call_ids = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12).map(
    "call_{}".format
)
efforts = ("low", "medium", "high")
# Fields that do not go up, and are reported.
WITHOUT_EFFECT: Sequence[Mapping[str, Any]] = (
    *({}, {}, {}),
    *({"seed": 7}, {"temperature": 0.2, "top_p": 0.5}, {"logit_bias": {"50256": -100}}),
    {"presence_penalty": 1.5, "frequency_penalty": -1.0},
    {"prediction": {"type": "content", "content": "as before"}},
    *({"verbosity": "low"}, {"metadata": {"a": "b"}, "store": True}),
    {"user": "me", "safety_identifier": "x"},
    {"prompt_cache_key": "k"},
    *({"service_tier": "flex"}, {"moderation": {"model": "omni-moderation-latest"}}),
)
# Fields with values that ask for what there is anyway.
AS_ALWAYS: Sequence[Mapping[str, Any]] = (
    *({}, {"n": 1}, {"modalities": ["text"]}, {"logprobs": False}),
    *({"stream_options": None}, {"seed": None}),
    {"prompt_cache_options": {"mode": "explicit"}},
)


@cache
def image_parts() -> st.SearchStrategy[dict[str, Any]]:
    """``image_url`` parts, in base64 or by URL."""
    sizes = st.integers(1, 3)
    urls = st.builds(lambda w, h: f"{_DATA_URL}{png(w, h)}", sizes, sizes) | st.just(
        "https://example.com/a.png?b=c%20d"
    )
    details = st.sampled_from([{}, *({"detail": d} for d in ("low", "auto", "high"))])
    return st.builds(
        lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
        urls,
        details,
    )


@cache
def file_parts() -> st.SearchStrategy[dict[str, Any]]:
    """``file`` parts that hold a PDF or a text."""
    plain = base64.b64encode(_PLAIN.encode()).decode()
    return st.sampled_from(
        [
            {
                "type": "file",
                "file": {
                    "filename": "a.pdf",
                    "file_data": f"data:application/pdf;base64,{PDF}",
                },
            },
            {
                "type": "file",
                "file": {
                    "filename": "a.txt",
                    "file_data": f"data:text/plain;base64,{plain}",
                },
            },
        ]
    )


@cache
def text_parts() -> st.SearchStrategy[dict[str, Any]]:
    return texts.map(lambda text: {"type": "text", "text": text})


@st.composite
def tool_calls(draw: st.DrawFn, known: Sequence[str]) -> list[dict[str, Any]]:
    """Parallel calls, with arguments in different spellings of JSON."""
    called = st.sampled_from(list(known) or ["gone"])
    separators = st.sampled_from([(",", ":"), (", ", ": ")])
    return [
        {
            "id": identifier,
            "type": "function",
            "function": {
                "name": draw(called),
                "arguments": json.dumps(
                    draw(json_objects), separators=draw(separators)
                ),
            },
        }
        for identifier in draw(st.lists(call_ids, min_size=1, max_size=3, unique=True))
    ]


_INSTRUCTED = st.sampled_from(["system", "developer"])


@cache
def _asked_content() -> st.SearchStrategy[Any]:
    part = text_parts() | image_parts() | file_parts()
    return texts | st.lists(part, min_size=1, max_size=3)


@cache
def _said_content() -> st.SearchStrategy[Any]:
    return texts | st.lists(text_parts(), min_size=1, max_size=2)


@cache
def _answers() -> st.SearchStrategy[dict[str, Any]]:
    """What an assistant says: a text, parts, or a refusal in one of two places."""
    refused = texts.map(lambda text: {"type": "refusal", "refusal": text})
    parts_of = st.lists(text_parts() | refused, min_size=1, max_size=2)
    return st.one_of(
        (texts | parts_of).map(lambda content: {"content": content, "refusal": None}),
        texts.map(lambda text: {"content": None, "refusal": text}),
        _said_content().map(lambda content: {"content": content}),
    )


@cache
def _told_content() -> st.SearchStrategy[Any]:
    part = st.builds(lambda text: {"type": "text", "text": text}, system_texts)
    return system_texts | st.lists(part, min_size=1, max_size=2)


@cache
def _contents_of_calls() -> st.SearchStrategy[dict[str, Any]]:
    silent: list[dict[str, Any]] = [{"content": None}, {"content": ""}, {}]
    spoken = st.builds(lambda text: {"content": text}, _said_content())
    return st.sampled_from(silent) | spoken


@cache
def _result_content() -> st.SearchStrategy[Any]:
    return st.just("") | _said_content()


@cache
def _stops() -> st.SearchStrategy[Any]:
    stops = texts.filter(lambda text: len(text) < 99)
    return st.none() | stops | st.lists(stops, min_size=1, max_size=4)


@st.composite
def _messages(
    draw: st.DrawFn, known: Sequence[str], has_system_role: bool
) -> list[dict[str, Any]]:
    content, said = _asked_content(), _said_content()
    found = [
        {"role": draw(_INSTRUCTED), "content": draw(_told_content())}
        for _ in range(draw(st.integers(0, 2)))
    ]
    used: set[str] = set()
    for _ in range(draw(st.integers(0, 3))):
        named = {"name": "ada"} if draw(st.integers(0, 4)) == 0 else {}
        found.append({"role": "user", "content": draw(content), **named})
        if has_system_role and draw(st.integers(0, 4)) == 0:
            found.append({"role": draw(_INSTRUCTED), "content": draw(said)})
        answer: dict[str, Any] = {"role": "assistant"}
        calls = draw(tool_calls(known)) if bool(known) and draw(st.booleans()) else []
        calls = [call for call in calls if call["id"] not in used]
        used.update(call["id"] for call in calls)
        if not calls:
            found.append({**answer, **draw(_answers())})
            continue
        found.append({**answer, **draw(_contents_of_calls()), "tool_calls": calls})
        found.extend(
            {
                "role": "tool",
                "tool_call_id": call["id"],
                "content": draw(_result_content()),
            }
            for call in draw(st.permutations(calls))
        )
    if found[-1:] == [] or found[-1]["role"] != "tool" or draw(st.booleans()):
        found.append({"role": "user", "content": draw(content)})
    return found


@st.composite
def function_tools(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The ``function`` objects of some tools."""
    found = []
    for name in draw(st.lists(names, max_size=3, unique=True)):
        function: dict[str, Any] = {"name": name}
        if draw(st.booleans()):
            function["description"] = draw(texts)
        if draw(st.integers(0, 3)) == 0:
            function |= {"strict": True, "parameters": draw(grammar_schemas())}
        elif draw(st.integers(0, 4)) > 0:
            function["parameters"] = draw(schemas())
        found.append(function)
    return found


# Of the old field `functions`.
_OLD_CHOICES: Sequence[Mapping[str, Any]] = (
    *({}, {"function_call": "auto"}, {"function_call": "none"}),
)


def _in_old_form(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with ``function_call``, of which an answer has one."""
    found = []
    name = ""
    for message in messages:
        if message["role"] == "tool" and name:
            result = {"role": "function", "name": name, "content": message["content"]}
            found.append(result)
            name = ""
        elif calls := message.get("tool_calls"):
            rest = {k: v for k, v in message.items() if k != "tool_calls"}
            found.append({**rest, "function_call": calls[0]["function"]})
            name = calls[0]["function"]["name"]
        elif message["role"] != "tool":
            found.append(message)
    return found


@st.composite
def custom_names(draw: st.DrawFn, known: Sequence[str]) -> list[str]:
    """The names of the tools whose input is text."""
    if draw(st.integers(0, 2)):
        return []
    return draw(st.lists(st.sampled_from(list(known)), unique=True))


def custom_tool(function: Mapping[str, Any]) -> dict[str, Any]:
    """The custom tool with the name and description of a function."""
    kept = {k: v for k, v in function.items() if k in ("name", "description")}
    return {**kept, "format": {"type": "text"}}


def _with_customs(message: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The message, with calls of custom tools in their form."""
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        if function["name"] in names:
            custom = {"name": function["name"], "input": function["arguments"]}
            calls.append({"id": call["id"], "type": "custom", "custom": custom})
        else:
            calls.append(call)
    return {**message, "tool_calls": calls}


@st.composite
def chat_requests(draw: st.DrawFn, *, models: Sequence[str] = MODELS) -> dict[str, Any]:
    """A valid request to ``/v1/chat/completions`` that needs no correction."""
    model = draw(st.sampled_from(models))
    rules = model_rules(ALIASES.get(model, model))
    functions = draw(function_tools())
    known = [function["name"] for function in functions]
    request: dict[str, Any] = {
        "model": model,
        "messages": draw(_messages(known, rules.system_role)),
    }
    if functions and draw(st.integers(0, 5)) == 0:
        request["functions"] = functions
        request |= draw(st.sampled_from(_OLD_CHOICES))
        request["messages"] = _in_old_form(request["messages"])
    elif functions:
        customs = draw(custom_names(known))
        plain = [name for name in known if name not in customs]
        request["tools"] = [
            {"type": "custom", "custom": custom_tool(function)}
            if function["name"] in customs
            else {"type": "function", "function": function}
            for function in functions
        ]
        request["messages"] = [_with_customs(m, customs) for m in request["messages"]]
        request |= draw(choices())
        if plain and draw(st.integers(0, 5)) == 0:
            allowed = draw(st.lists(st.sampled_from(plain), min_size=1, unique=True))
            tools = [{"type": "function", "function": {"name": n}} for n in allowed]
            request["tool_choice"] = {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": tools},
            }
    limit = draw(st.sampled_from([None, "max_tokens", "max_completion_tokens"]))
    if limit:
        request[limit] = draw(st.integers(1, 4000))
    stop = draw(_stops())
    request |= {} if stop is None else {"stop": stop}
    if rules.efforts and draw(st.booleans()) is True:
        request["reasoning_effort"] = draw(st.sampled_from(efforts))
    form = draw(st.sampled_from([None, None, "text", "json_schema"]))
    if form == "json_schema":
        schema = {"name": "answer", "schema": draw(grammar_schemas()), "strict": True}
        request["response_format"] = {"type": form, form: schema}
    elif form:
        request["response_format"] = {"type": form}
    request |= draw(st.sampled_from(WITHOUT_EFFECT)) | draw(st.sampled_from(AS_ALWAYS))
    return request | draw(st.sampled_from([{}, {"stream": True}, {"stream": False}]))


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """``tool_choice`` and ``parallel_tool_calls`` as every model takes them."""
    found: dict[str, Any] = {}
    choice = draw(st.sampled_from([None, "auto", "none"]))
    if choice:
        found["tool_choice"] = choice
    if choice != "none" and draw(st.booleans()):
        found["parallel_tool_calls"] = draw(st.booleans())
    return found


def expected(request: Mapping[str, Any]) -> dict[str, Any]:
    """The equal request of the Messages API.

    Fields that the client does not set are left out, ``max_tokens`` too.
    """
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    functions = 0
    for message in request["messages"]:
        role, content = message["role"], message.get("content")
        if role in ("system", "developer"):
            blocks = [_part(part) for part in parts(content)]
            if turns:
                turns.append({"role": "system", "content": blocks})
            else:
                system.extend(blocks)
        elif role in ("tool", "function"):
            result = {
                "type": "tool_result",
                # A function's result belongs to the last call, which has no id.
                "tool_use_id": message.get("tool_call_id", f"function-{functions}"),
                "content": [_part(part) for part in parts(content)],
            }
            add_result(turns, result)
        else:
            blocks = [_part(part) for part in parts(content)]
            if message.get("refusal"):
                blocks.append({"type": "text", "text": message["refusal"]})
            blocks += [_call(call) for call in message.get("tool_calls", ())]
            if function := message.get("function_call"):
                functions += 1
                name, arguments = function["name"], function["arguments"]
                blocks.append(call_of(f"function-{functions}", name, arguments))
            turns.append({"role": role, "content": blocks})
    body: dict[str, Any] = {"model": request["model"], "messages": turns}
    if system:
        body["system"] = system
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    if limit is not None:
        body["max_tokens"] = limit
    stop = request.get("stop")
    if stop:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if "tools" in request:
        body["tools"] = [
            text_tool_of(tool["custom"])
            if "custom" in tool
            else tool_of(tool["function"])
            for tool in request["tools"]
        ]
        choice = request.get("tool_choice")
        if isinstance(choice, dict):
            tools = choice["allowed_tools"]["tools"]
            allowed = [tool["function"]["name"] for tool in tools]
            body["tools"] = [t for t in body["tools"] if t["name"] in allowed]
        body["tool_choice"] = choice_of(request)
    if "functions" in request:
        body["tools"] = [tool_of(function) for function in request["functions"]]
        # An answer has one `function_call`.
        is_off = request.get("function_call") == "none"
        one = {"type": "auto", "disable_parallel_tool_use": True}
        body["tool_choice"] = {"type": "none"} if is_off else one
    form = request.get("response_format") or {"type": "text"}
    schema = form["json_schema"]["schema"] if form["type"] == "json_schema" else None
    body |= config_of(request.get("reasoning_effort"), schema)
    return body


def add_result(turns: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Add a result; all results of one answer are in one message of the user."""
    last = turns[-1]["content"] if turns else []
    if last and all(block["type"] == "tool_result" for block in last):
        last.append(result)
    else:
        turns.append({"role": "user", "content": [result]})


def parts(content: Any) -> list[dict[str, Any]]:
    """A message's content as parts; an empty text has no part."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content or ())


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "image_url":
        return image_of(part["image_url"]["url"])
    if part["type"] == "refusal":
        return {"type": "text", "text": part["refusal"]}
    if part["type"] == "file":
        return document_of(part["file"]["file_data"], part["file"]["filename"])
    return dict(part)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    if call["type"] == "custom":
        custom = call["custom"]
        return text_call_of(call["id"], custom["name"], custom["input"])
    function = call["function"]
    return call_of(call["id"], function["name"], function["arguments"])


def image_of(url: str) -> dict[str, Any]:
    """The image block of a URL, or of the image in a data URL."""
    if not url.startswith(_DATA_URL):
        return {"type": "image", "source": {"type": "url", "url": url}}
    data = url.removeprefix(_DATA_URL)
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return {"type": "image", "source": source}


def document_of(data_url: str, title: str) -> dict[str, Any]:
    """The document block of a file in a data URL."""
    declared, data = data_url.removeprefix("data:").split(";base64,")
    source = {"type": "base64", "media_type": declared, "data": data}
    if declared == "text/plain":
        text = base64.b64decode(data).decode()
        source = {"type": "text", "media_type": declared, "data": text}
    return {"type": "document", "source": source, "title": title}


def call_of(identifier: str, name: str, arguments: str) -> dict[str, Any]:
    """The ``tool_use`` block of a function call."""
    block = {"type": "tool_use", "id": identifier, "name": name}
    return {**block, "input": json.loads(arguments)}


def text_call_of(identifier: str, name: str, text: str) -> dict[str, Any]:
    """The ``tool_use`` block of a custom tool's call: its input is an object, too."""
    block = {"type": "tool_use", "id": identifier, "name": name}
    return {**block, "input": {"input": text}}


def text_tool_of(custom: Mapping[str, Any]) -> dict[str, Any]:
    """The tool of a custom tool: an object with one text."""
    about = "The tool's whole input, as plain text."
    schema = {
        "type": "object",
        "properties": {"input": {"type": "string", "description": about}},
        "required": ["input"],
        "additionalProperties": False,
    }
    kept = {k: v for k, v in custom.items() if k in ("name", "description")}
    return {**kept, "input_schema": schema}


def tool_of(function: Mapping[str, Any]) -> dict[str, Any]:
    """The tool of a function."""
    tool = {"name": function["name"]}
    if function.get("description") is not None:
        tool["description"] = function["description"]
    if function.get("strict"):
        tool["strict"] = True
    return {**tool, "input_schema": function.get("parameters") or _NO_PARAMETERS}


def choice_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """``tool_choice``, combined with ``parallel_tool_calls``."""
    wanted = request.get("tool_choice", "auto")
    choice: dict[str, Any] = {"type": "auto" if isinstance(wanted, dict) else wanted}
    if choice["type"] != "none" and request.get("parallel_tool_calls") is False:
        choice["disable_parallel_tool_use"] = True
    return choice


def config_of(effort: str | None, schema: Any) -> dict[str, Any]:
    """``output_config``, if a field of it is set."""
    config: dict[str, Any] = {} if effort is None else {"effort": effort}
    if schema is not None:
        config["format"] = {"type": "json_schema", "schema": schema}
    return {"output_config": config} if config else {}
