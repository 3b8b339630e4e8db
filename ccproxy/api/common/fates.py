"""The fate of each request field, declared in the struct that decodes it. Pure.

=========  ==================================================================
carried    the default: the decoder uses the field
ignored    the field has no effect; its path is reported to the client. The answer
           means the same without it. With ``--strict`` the request is refused
left out   the same, for a field that asks for an addition to the answer: the answer
           lacks the addition, and is whole without it
refused    the request is refused: without the field, the answer would mean something
           else, or would not be in the form that the client reads
kept       the field is stored with its item, and not sent to the model
granted    the field asks for something that is always done
=========  ==================================================================

A fate is declared as ``seed: Annotated[object, ignored("why")] = None``. Fields that a
struct does not declare are ignored, too. A field whose value is ``null``, ``false``,
``auto`` or empty asks for nothing, so it is neither reported nor refused.

It is slow to visit every object of a request in Python. The request is therefore first
decoded to a stricter type. Its objects are visited only if this decoding fails.
"""

import types
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from attrs import frozen
from msgspec import Raw, UnsetType

from ccproxy.api.common.decoding import decode_json, read_body
from ccproxy.core.errors import unsupported
from ccproxy.core.messages import Adjustments

# Reasons for the fates of several fields.
NO_SUCH_FEATURE = "the provider has no such feature"
NO_USERS = "the provider receives the CLI's own account only"
NO_LOGPROBS = "the model's log probabilities are not available"
NO_OBFUSCATION = "events have no padding"
OTHER_CACHE = "the provider's prompt cache has no keys"

_EXTRA = "fate"
# Stands for an empty name of a field in a path.
_NO_NAME = '""'
_T = TypeVar("_T", bound=msgspec.Struct)
_NOTHING_RAW = (b"null", b"false", b'""', b"[]", b"{}")
_NOTHING = None | list[None] | dict[str, None]


class Fate(Enum):
    """What happens to a field; see the module's table."""

    CARRIED = "carried"
    IGNORED = "ignored"
    LEFT_OUT = "left out"
    REFUSED = "refused"
    KEPT = "kept"
    GRANTED = "granted"


@frozen
class FieldFate:
    """The fate of a field.

    Attributes:
        why: the reason, a clause without a full stop; empty: the field is carried.
    """

    fate: Fate = Fate.CARRIED
    why: str = ""


CARRIED = FieldFate()


def ignored(why: str) -> msgspec.Meta:
    """The annotation of a field that has no effect."""
    return _meta(FieldFate(Fate.IGNORED, why), "Has no effect")


def left_out(why: str) -> msgspec.Meta:
    """The annotation of a field that asks for an addition that no answer has."""
    return _meta(FieldFate(Fate.LEFT_OUT, why), "Has no effect")


def refused(why: str) -> msgspec.Meta:
    """The annotation of a field that is refused, unless it asks for nothing."""
    return _meta(FieldFate(Fate.REFUSED, why), "Not supported")


def kept(why: str) -> msgspec.Meta:
    """The annotation of a field that is only stored with its item."""
    return _meta(FieldFate(Fate.KEPT, why), "Kept with the item")


def granted(why: str) -> msgspec.Meta:
    """The annotation of a field that asks for something that is always done."""
    return _meta(FieldFate(Fate.GRANTED, why), "Always so")


def _meta(fate: FieldFate, what: str) -> msgspec.Meta:
    return msgspec.Meta(description=f"{what}: {fate.why}.", extra={_EXTRA: fate})


@frozen
class Field:
    """A declared field.

    Attributes:
        is_unread: whether a value of the field must be reported or refused.
        struct: the struct of an object value; None: its fields are not checked.
        item: the struct of the objects in a list; None: their fields are not checked.
    """

    fate: FieldFate
    is_unread: bool
    struct: type[msgspec.Struct] | None = None
    item: type[msgspec.Struct] | None = None


@cache
def declared(struct: type[msgspec.Struct]) -> Mapping[str, Field]:
    """The fields of a struct, by their names in JSON."""
    hints = get_type_hints(struct, include_extras=True)
    fields = msgspec.structs.fields(struct)
    return {each.encode_name: _field(hints[each.name]) for each in fields}


def _field(hint: Any) -> Field:
    fate = CARRIED
    struct = item = None
    for part in _parts(hint):
        if isinstance(part, msgspec.Meta):
            fate = (part.extra or {}).get(_EXTRA, fate)
        elif isinstance(part, type) and issubclass(part, msgspec.Struct):
            struct = part
        elif get_origin(part) is list:
            item = _field(get_args(part)[0]).struct
    is_unread = fate.fate in (Fate.IGNORED, Fate.LEFT_OUT, Fate.REFUSED)
    return Field(fate, is_unread, struct, item)


def _parts(hint: Any) -> Iterator[Any]:
    """The members of a union, and the annotations of an annotated type."""
    if get_origin(hint) in (Union, types.UnionType, Annotated):
        for part in get_args(hint):
            yield from _parts(part)
    else:
        yield hint


def decode_request(
    decoder: msgspec.json.Decoder[_T], body: bytes
) -> tuple[_T, Adjustments]:
    """Decode a request's body to a struct, and report the fields that are not read.

    Args:
        decoder: decodes to the struct that declares the fates of the fields.
        body: the body as it was received.

    Raises:
        ClientError: the body is invalid, or a field is refused.
    """
    adjustments = Adjustments()
    body, mended = read_body(body)
    adjustments.adjust(*mended)
    request = decode_json(decoder, body)
    name_unread(body, type(request), adjustments)
    return request, adjustments


# Python reads a number that no float can hold, such as 1e400, as infinity.
_decode = msgspec.json.Decoder(float_hook=float).decode


def name_unread(
    body: bytes,
    struct: type[msgspec.Struct],
    adjustments: Adjustments,
    *,
    at: str = "",
) -> None:
    """Record the paths of the fields that have no effect.

    Args:
        body: the JSON of an object that can be decoded to ``struct``.
        struct: declares the fates of the fields.
        adjustments: records the paths.
        at: the path of the object in the request; empty: the whole body.

    Raises:
        UnsupportedValue: a field is refused.
    """
    try:
        _strict(struct).decode(body)
    except msgspec.ValidationError:
        for path, fate in _unread(_decode(body), struct, at):
            if fate.fate is Fate.REFUSED:
                unsupported(path, fate.why)
            adjustments.ignore(path)


def _unread(
    value: Mapping[str, Any], struct: type[msgspec.Struct], at: str
) -> Iterator[tuple[str, FieldFate]]:
    fields = declared(struct)
    start = f"{at}." if at else ""
    for name, inner in value.items():
        field = fields.get(name)
        if field is None:
            if not asks_nothing(inner):
                yield start + (name or _NO_NAME), CARRIED
        elif field.is_unread:
            # 0 asks for nothing in fields such as ``top_logprobs``. In an ignored
            # field, such as ``seed``, it is a value.
            is_zero = field.fate.fate is not Fate.IGNORED and not inner
            if not is_zero and not asks_nothing(inner):
                yield start + name, field.fate
        elif field.struct is not None and isinstance(inner, dict):
            yield from _unread(inner, field.struct, start + name)
        elif field.item is not None and isinstance(inner, list):
            for index, each in enumerate(inner):
                if isinstance(each, dict):
                    yield from _unread(each, field.item, f"{start}{name}[{index}]")


def name_unused(
    value: msgspec.Struct, used: Collection[str], adjustments: Adjustments, at: str
) -> None:
    """Record the paths of declared fields that this value has no use for.

    A struct declares the fields of all types or roles of an object. Fields of another
    type or role than the value's have no effect.

    Args:
        value: the decoded object.
        used: the names of the fields that its type uses.
        adjustments: records the paths.
        at: the path of the object in the request.
    """
    for name, field in declared(type(value)).items():
        if name not in used and field.fate is CARRIED and _is_set(getattr(value, name)):
            adjustments.ignore(f"{at}.{name}")


def _is_set(value: object) -> bool:
    if isinstance(value, Raw):
        return bytes(value).strip() not in _NOTHING_RAW
    return not isinstance(value, UnsetType) and not asks_nothing(value)


def asks_nothing(value: object) -> bool:
    """Whether a value means the same as an absent field."""
    match value:
        case None | False | "" | [] | "auto":
            return True
        case dict():
            return all(map(asks_nothing, value.values()))
    return False


@cache
def _strict(struct: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """A decoder that fails if a field may have to be reported or refused."""
    return msgspec.json.Decoder(_strict_type(struct))


@cache
def _strict_type(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    for name, field in declared(struct).items():
        kind: Any = Raw
        if field.is_unread:
            kind = _NOTHING
        elif field.struct is not None or field.item is not None:
            kind = str | None
            if field.struct is not None:
                kind |= _strict_type(field.struct)
            if field.item is not None:
                kind |= list[_strict_type(field.item)]  # type: ignore[misc]
        fields.append((name, kind, None))
    return msgspec.defstruct(
        f"Strict{struct.__name__}", fields, forbid_unknown_fields=True
    )
