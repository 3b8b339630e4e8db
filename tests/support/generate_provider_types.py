"""Write ``provider_types.json``: the request types of the Messages API, as JSON.

Read off the TypedDicts of the package ``anthropic``, whose beta types hold all fields
and blocks there are; what its stable types lack is marked. The table is kept because
importing the package takes seconds, which no server in a test has.

``python -m tests.support.generate_provider_types``
"""

import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typing_extensions

TABLE = Path(__file__).with_name("provider_types.json")
ROOT = "MessageCreateParamsNonStreaming"
# What the package takes as parameters and sends as headers.
_HEADERS = ("betas", "user_profile_id", "workspace_id")
# What the API has, and the package no longer.
_OLDER = {"temperature": "float", "top_p": "float", "top_k": "int", "stream": "bool"}
_PLAIN = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}
_WRAPPERS = (
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing.Annotated,
)


def generate() -> dict[str, Any]:
    """The table: each type with its fields, and the package's version."""
    import anthropic
    from anthropic.types import message_create_params as stable
    from anthropic.types.beta import message_create_params as beta

    known = _types(stable.MessageCreateParamsNonStreaming)
    found = _types(beta.MessageCreateParamsNonStreaming)
    for types in (known, found):
        fields = types[ROOT]["fields"]
        fields.update(_OLDER)
        for header in _HEADERS:
            fields.pop(header, None)
    for name, about in found.items():
        usual = known.get(name, {"fields": {}})["fields"]
        about["beta"] = sorted(set(about["fields"]) - set(usual))
    return {"version": anthropic.__version__, "types": dict(sorted(found.items()))}


def _types(root: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    waiting = [root]
    while waiting:
        kind = waiting.pop()
        name = _name(kind)
        if name in found:
            continue
        hints = typing.get_type_hints(kind)
        marked = typing.get_type_hints(kind, include_extras=True)
        required = typing.get_origin(typing.Required[int])
        found[name] = {
            "fields": {key: _hint(hint) for key, hint in sorted(hints.items())},
            "required": sorted(
                k for k in hints if typing.get_origin(marked[k]) is required
            ),
        }
        for hint in hints.values():
            waiting.extend(_typed_dicts(hint))
    return found


def _name(kind: Any) -> str:
    # Two of the beta types are named differently for no reason.
    name: str = kind.__name__.removeprefix("Beta")
    return {
        "RequestDocumentBlockParam": "DocumentBlockParam",
        "CitationsConfigParamParam": "CitationsConfigParam",
    }.get(name, name)


def _typed_dicts(hint: Any) -> Iterator[Any]:
    if typing_extensions.is_typeddict(hint):
        yield hint
    elif typing.get_origin(hint) is not typing.Literal:
        for argument in typing.get_args(hint):
            yield from _typed_dicts(argument)


def _hint(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if typing_extensions.is_typeddict(hint):
        return {"ref": _name(hint)}
    if origin in _WRAPPERS:
        return _hint(arguments[0])
    if origin is typing.Literal:
        return {"of": list(arguments)}
    if origin is typing.Union:
        # A file to be read is the SDK's own: it does not go over the wire.
        members = [_hint(member) for member in arguments]
        if "str" in members:
            members = [m for m in members if not (isinstance(m, dict) and "of" in m)]
        members = [member for member in members if member != "file"]
        return {"any": members} if len(members) > 1 else members[0]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"map": _hint(arguments[1])}
    if origin is not None and (origin.__name__ == "SequenceNotStr" or _is_list(origin)):
        return {"list": _hint(arguments[0])}
    return "anything" if hint is object else "file"


def _is_list(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Iterable)


def write() -> None:
    """Write the table with one type a line."""
    table = generate()
    lines = [
        f"{json.dumps(name)}: {json.dumps(about)}"
        for name, about in table["types"].items()
    ]
    types = ",\n".join(lines)
    version = json.dumps(table["version"])
    TABLE.write_text(f'{{"version": {version}, "types": {{\n{types}\n}}}}\n')


if __name__ == "__main__":
    write()
