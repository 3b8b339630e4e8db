"""The same request in each API, composed to the body that goes up, without a CLI."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.claude.body.compose import Composition
from ccproxy.core.messages import MessagesRequest
from tests.support.composed import BETAS, OPUS, composed, upstream
from tests.support.provider_rules import violations

_SEAL = Encryptor(new_key())
JSON = dict[str, Any]


@frozen
class Decoded:
    """A request in the terms of the Messages API, and what the decoder reports."""

    request: MessagesRequest
    named: Sequence[str]


def _chat(body: bytes) -> Decoded:
    call = decode_chat(body)
    return Decoded(call.request, (*call.adjusted, *call.ignored))


def _responses(body: bytes) -> Decoded:
    call = decode_responses(body)
    made = request_of(call, context_of(call, (), {}), _SEAL)
    named = (*call.adjusted, *call.ignored, *made.adjusted, *made.ignored)
    return Decoded(made.request, named)


def _messages(body: bytes) -> Decoded:
    call = decode_messages(body)
    return Decoded(call.request, (*call.adjusted, *call.ignored))


def _image_of_messages(kind: str, data: str) -> JSON:
    source = {"type": "base64", "media_type": kind, "data": data}
    return {"type": "image", "source": source}


@frozen
class API:
    """How an API writes the parts of a request.

    Attributes:
        decode: decodes a body.
        tools: the field ``tools`` for schemas of functions, and other fields of each.
        parameters: the path of a tool's schema, by its number.
        form: the fields of an answer by a schema.
        form_path: the path of that schema.
        image: a part of a user's message, of a type and base64.
        user: the fields of a user's message with parts.
        result: the fields of a conversation that ends with a result of parts.
        part: the path of a part of the user's message, by its number.
        result_part: the same of the result.
        source: the path of an image's data, below its part.
    """

    name: str
    decode: Callable[[bytes], Decoded]
    tools: Callable[..., list[JSON]]
    parameters: str
    form: Callable[[Any], JSON]
    form_path: str
    image: Callable[[str, str], JSON]
    user: Callable[..., JSON]
    result: Callable[..., JSON]
    part: str
    result_part: str
    source: str

    def ask(self, model_id: str = OPUS, **fields: Any) -> "Outcome":
        """Compose a request; without messages it says ``hi``.

        Raises:
            ClientError: it is refused.
        """
        body = {"max_tokens": 99} if self.name == "messages" else {}
        body |= self.user(self.text("hi")) | fields
        read = self.decode(json.dumps(body).encode())
        composition = composed(read.request, model_id)
        return Outcome(
            composition,
            upstream(composition.body, model_id),
            {*read.named, *composition.adjusted, *composition.ignored},
        )

    def text(self, text: str) -> JSON:
        """A part of a user's message."""
        kind = "input_text" if self.name == "responses" else "text"
        return {"type": kind, "text": text}


@frozen
class Outcome:
    """A composed request.

    Attributes:
        body: the body at the provider.
        named: the client's paths of what was altered or left out.
    """

    composition: Composition
    body: JSON
    named: set[str]

    @property
    def refusals(self) -> list[str]:
        """What the provider says against the body."""
        return [each.message for each in violations(self.body, betas=BETAS)]


_CALL = {"type": "function", "function": {"name": "look", "arguments": "{}"}}


def _parts(*parts: JSON) -> list[JSON]:
    return list(parts)


CHAT = API(
    name="chat",
    decode=_chat,
    tools=lambda *schemas, **about: [
        {
            "type": "function",
            "function": {"name": f"t{n}", "parameters": schema, **about},
        }
        for n, schema in enumerate(schemas)
    ],
    parameters="tools[{}].function.parameters",
    form=lambda schema: {
        "response_format": {
            "type": "json_schema",
            # A name, which OpenAI requires, would be named as ignored.
            "json_schema": {"schema": schema},
        }
    },
    form_path="response_format.json_schema.schema",
    image=lambda kind, data: {
        "type": "image_url",
        "image_url": {"url": f"data:{kind};base64,{data}"},
    },
    user=lambda *parts: {"messages": [{"role": "user", "content": _parts(*parts)}]},
    result=lambda *parts: {
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "tool_calls": [{"id": "c", **_CALL}]},
            {"role": "tool", "tool_call_id": "c", "content": _parts(*parts)},
        ]
    },
    part="messages[0].content[{}]",
    result_part="messages[2].content[{}]",
    source="image_url.url",
)
RESPONSES = API(
    name="responses",
    decode=_responses,
    tools=lambda *schemas, **about: [
        {"type": "function", "name": f"t{n}", "parameters": schema, **about}
        for n, schema in enumerate(schemas)
    ],
    parameters="tools[{}].parameters",
    form=lambda schema: {
        "text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}
    },
    form_path="text.format.schema",
    image=lambda kind, data: {
        "type": "input_image",
        "image_url": f"data:{kind};base64,{data}",
    },
    user=lambda *parts: {"input": [{"role": "user", "content": _parts(*parts)}]},
    result=lambda *parts: {
        "input": [
            {"role": "user", "content": "go"},
            {
                "type": "function_call",
                "call_id": "c",
                "name": "look",
                "arguments": "{}",
            },
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": _parts(*parts),
            },
        ]
    },
    part="input[0].content[{}]",
    result_part="input[2].output[{}]",
    source="image_url",
)
MESSAGES = API(
    name="messages",
    decode=_messages,
    tools=lambda *schemas, **about: [
        {"name": f"t{n}", "input_schema": schema, **about}
        for n, schema in enumerate(schemas)
    ],
    parameters="tools[{}].input_schema",
    form=lambda schema: {
        "output_config": {"format": {"type": "json_schema", "schema": schema}}
    },
    form_path="output_config.format.schema",
    image=_image_of_messages,
    user=lambda *parts: {"messages": [{"role": "user", "content": _parts(*parts)}]},
    result=lambda *parts: {
        "messages": [
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c", "name": "look", "input": {}}
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "content": _parts(*parts),
                    }
                ],
            },
        ]
    },
    part="messages[0].content[{}]",
    result_part="messages[2].content[0].content[{}]",
    source="source",
)
THREE = (CHAT, RESPONSES, MESSAGES)


def by_name(api: API) -> str:
    """The id of a test's parameter."""
    return api.name
