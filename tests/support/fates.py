"""What becomes of a request's fields: as it is declared, and as it is found."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec
from attrs import evolve, frozen

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.common.content import ContentPart
from ccproxy.api.common.fates import CARRIED, Fate, Field, FieldFate, declared
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.fields import ResponsesRequest
from ccproxy.api.responses.input.item_fields import ItemFields
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.api.responses.input.tools import ToolFields
from ccproxy.core.errors import ClientError
from ccproxy.core.messages import MessagesRequest
from tests.support.composed import composed
from tests.support.documented_fields import DocumentedField

Body: TypeAlias = dict[str, Any]
# A top-level field and its value → a request with it, and the index of the first item
# of the value among the request's messages or items.
Make: TypeAlias = Callable[[str, Any], tuple[Body, int]]

ENCRYPTOR = Encryptor(new_key())

_TOKEN = re.compile("zq[0-9a-z]+")


@frozen
class Outcome:
    """What became of a request.

    Attributes:
        text: all that goes up, and all that shapes the answer.
        ignored: the paths in ``x-ccproxy-ignored``.
        adjusted: the paths in ``x-ccproxy-adjusted``.
        refused: the path in the error; None: the request is not refused.
    """

    text: str = ""
    ignored: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    refused: str | None = None


def chat(body: Body) -> Outcome:
    """Decode and compose a chat completion."""
    try:
        call = decode_chat(json.dumps(body).encode())
        shape = (call.stream, call.include_usage, call.choices)
        shaped = f"{shape} {call.call_format.is_legacy}"
        return _composed(call.request, shaped, call.ignored, call.adjusted)
    except ClientError as error:
        return Outcome(refused=error.param or "")


def responses(body: Body) -> Outcome:
    """Decode and compose a response; what the response repeats counts, too."""
    try:
        call = decode_responses(json.dumps(body).encode())
        made = request_of(call, context_of(call, (), {}), ENCRYPTOR)
        # Tools are repeated as they came, so that says nothing.
        fields = {
            **json.loads(b"{%b}" % call.echo.json),
            "tools": (),
            "tool_choice": None,
        }
        repeated = evolve(call.echo, json=json.dumps(fields).encode())
        return _composed(
            made.request,
            f"{call.stream} {repeated}",
            (*call.ignored, *made.ignored),
            (*call.adjusted, *made.adjusted),
        )
    except ClientError as error:
        return Outcome(refused=error.param or "")


def messages(body: Body) -> Outcome:
    """Decode and compose a request of the Messages API."""
    try:
        call = decode_messages(json.dumps(body).encode())
        shape = f"{call.stream} {call.thinking}"
        return _composed(call.request, shape, call.ignored, call.adjusted)
    except ClientError as error:
        return Outcome(refused=error.param or "")


def _composed(
    request: MessagesRequest,
    shape: str,
    ignored: tuple[str, ...],
    adjusted: tuple[str, ...],
) -> Outcome:
    found = composed(request, effort=request.effort)
    sent = found.body
    text = f"{request.model} {sent.system} {sent.effort} {sent.json.decode()} {shape}"
    return Outcome(text, (*ignored, *found.ignored), (*adjusted, *found.adjusted))


@frozen
class Found:
    """The fate that was found.

    Attributes:
        fate: ``carried``, ``named``, ``refused``; empty: none of these.
        by: the path that was named or refused, with the field's own indices.
    """

    fate: str
    by: str = ""


def fate(field: DocumentedField, make: Make, send: Callable[[Body], Outcome]) -> Found:
    """Send requests with a field.

    The field is carried if its texts are in the outcome, or if the outcome depends on
    the field.
    """
    outcomes = {send(make(field.top, field.bare)[0]).text}
    is_found = False
    for value in field.values:
        body, index = make(field.top, field.put(value))
        start = f"{field.top}[{index}]"

        def own(path: str, start: str = start) -> str:
            """A path with index 0, as the field's path has it."""
            return path.replace(start, f"{field.top}[0]", 1)

        outcome = send(body)
        if outcome.refused is not None:
            by = own(outcome.refused)
            return Found("refused", by) if covers(by, field.path) else Found("")
        # An object that is sent in another form may have lost other fields as well.
        names = [n for n in map(own, outcome.adjusted) if n.startswith(field.path)]
        names += [n for n in map(own, outcome.ignored) if covers(n, field.path)]
        if names:
            return Found("named", names[0])
        outcomes.add(outcome.text)
        tokens = _TOKEN.findall(json.dumps(value))
        is_found |= bool(tokens) and all(t in outcome.text for t in tokens)
        if tokens and not is_found:
            return Found("")
    return Found("carried" if is_found or len(outcomes) > 1 else "")


# What decodes the raw JSON of these lists' items.
_ITEMS: Mapping[tuple[type[msgspec.Struct], str], type[msgspec.Struct]] = {
    (ResponsesRequest, "input"): ItemFields,
    (ResponsesRequest, "tools"): ToolFields,
    (ToolFields, "tools"): ToolFields,
    (ItemFields, "tools"): ToolFields,
    (ItemFields, "output"): ContentPart,
}
_STEP = re.compile(r"(\w+)(\[0\])?")


def declaration(path: str, struct: type[msgspec.Struct] | None) -> Field | None:
    """The declaration of a field of a request; None: there is none."""
    found = Field(CARRIED, is_unread=False, struct=struct)
    for name, index in _STEP.findall(path):
        if struct is None or name not in declared(struct):
            return None
        found = declared(struct)[name]
        if found.fate.fate is Fate.KEPT:
            # It is kept whole.
            return found
        struct = _ITEMS.get((struct, name), found.item) if index else found.struct
    return found


def fate_rows(struct: type[msgspec.Struct]) -> list[str]:
    """The rows of the table of a request's fields that are not carried."""
    rows: dict[FieldFate, dict[str, None]] = {}
    for path, about in _not_carried(struct, "", ()):
        rows.setdefault(about, {})[f"`{path}`"] = None
    ordered = sorted(rows, key=lambda about: [*Fate].index(about.fate))
    return [
        f"| {', '.join(rows[about])} | {_HEADINGS[about.fate]}: {about.why} |"
        for about in ordered
    ]


_HEADINGS: Mapping[Fate, str] = {
    Fate.IGNORED: "`x-ccproxy-ignored`",
    Fate.LEFT_OUT: "`x-ccproxy-ignored`",
    Fate.REFUSED: "400 `unsupported_value`",
    Fate.KEPT: "kept with the item",
    Fate.GRANTED: "always so",
}


def _not_carried(
    struct: type[msgspec.Struct], at: str, outer: tuple[type[msgspec.Struct], ...]
) -> Iterator[tuple[str, FieldFate]]:
    if struct in outer:
        return
    within = (*outer, struct)
    # Two lists of the same items, such as `input` for `messages`, are told once.
    known: set[type[msgspec.Struct]] = set()
    for name, field in declared(struct).items():
        if field.fate is not CARRIED:
            yield at + name, field.fate
        if field.struct is not None:
            yield from _not_carried(field.struct, f"{at}{name}.", within)
        item = _ITEMS.get((struct, name), field.item)
        if item is not None and item not in known:
            known.add(item)
            yield from _not_carried(item, f"{at}{name}[].", within)


def covers(named: str, path: str) -> bool:
    """Whether a path is that of a field, of a part of it, or of what has the field."""
    # Of the refusal of an object because of its type.
    whole = named.removesuffix(".type")
    return bool(named) and (
        path == named
        or path.startswith((f"{whole}.", f"{whole}["))
        or named.startswith((f"{path}.", f"{path}["))
    )
