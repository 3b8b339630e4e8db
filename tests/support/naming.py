"""The fields that the headers must report, of a random request of the tests.

Some have no effect. Others are reported because of their numbers:

the CLI is JavaScript and prints the body anew, so that some numbers go up in another
form, or with another value: those have to be named. Of some it cannot be said what
they become without printing them: those may be.

Source: docs/upstream.md, "What is mended"; ECMA-262, "Number::toString".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LARGEST_INTEGER = 2**53
# From here on a name is no position in a list.
_NO_INDEX = 2**32 - 1


def named(headers: Any) -> list[str] | None:
    """The paths that the headers report; None: there were too many."""
    found: list[str] = []
    for header in ("x-ccproxy-adjusted", "x-ccproxy-ignored"):
        for line in headers.getRawHeaders(header) or ():
            found.extend(line.split(", "))
    return None if "..." in found else found


def misnamed(
    told: Sequence[str],
    request: Mapping[str, Any],
    allowed: Sequence[str] = (),
    needed: Sequence[str] = (),
) -> list[str]:
    """Paths that are reported but need not be, or must be but are not.

    Args:
        told: the client's paths that the headers name.
        request: what the client sent.
        allowed: what may be named for another reason; also what lies within.
        needed: what must be named for another reason, or something within.
    """
    must, may = set(without_effect(request)), set(without_effect(request))
    for path, value in _printed_parts(request):
        changes = _changes(value)
        if True in changes:
            must.add(path)
        if changes:
            may.add(path)
    must.update(needed)
    found = [f"{path} is not named" for path in sorted(must) if not _at(path, told)]
    for path in told:
        if not any(_is_within(path, each) for each in (*may, *needed, *allowed)):
            found.append(f"{path} is named, and goes up as it was sent")
    return found


def without_effect(request: Mapping[str, Any]) -> list[str]:
    """The paths of fields that the Messages API has nothing for."""
    found = [name for name in ("user", "cache_control") if name in request]
    if isinstance(request.get("system"), list) and len(request["system"]) > 1:
        # The CLI takes one text.
        found.append("system")
    found += _joined_instructions(request)
    schema = request.get("response_format", {}).get("json_schema", {})
    found += [f"response_format.json_schema.{n}" for n in ("name",) if n in schema]
    if "messages" not in request:
        # The answer repeats `metadata`.
        return found
    found += ["metadata"] if "metadata" in request else []
    for number, message in enumerate(request["messages"]):
        content = message.get("content")
        for index, part in enumerate(content if isinstance(content, list) else ()):
            at = f"messages[{number}].content[{index}].image_url"
            if part.get("image_url", {}).get("detail", "auto") != "auto":
                found.append(f"{at}.detail")
    return found


def _joined_instructions(request: Mapping[str, Any]) -> Iterator[str]:
    """The contents of several parts at the beginning, which become one text."""
    field = "messages" if "messages" in request else "input"
    items = request.get(field)
    for number, item in enumerate(items if isinstance(items, list) else ()):
        if item.get("role") not in ("system", "developer"):
            return
        if isinstance(item["content"], list) and len(item["content"]) > 1:
            yield f"{field}[{number}].content"


def _at(path: str, told: Sequence[str]) -> bool:
    return any(_is_within(each, path) or _is_within(path, each) for each in told)


def _is_within(path: str, whole: str) -> bool:
    return path == whole or path.startswith((f"{whole}.", f"{whole}["))


def _printed_parts(request: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each part of a request that may be any JSON, with its path."""
    choice = request.get("tool_choice")
    allowed = json.dumps(choice) if _is_allowed_tools(choice) else None
    for number, tool in enumerate(request.get("tools") or ()):
        name = (tool.get("function") or tool.get("custom") or tool)["name"]
        # Tools that are not allowed are not offered.
        if allowed is None or json.dumps(name) in allowed:
            yield f"tools[{number}]", tool
    for number, function in enumerate(request.get("functions") or ()):
        yield f"functions[{number}]", function
    for name in ("output_config", "response_format", "text"):
        if name in request:
            yield name, request[name]
    items = request.get("messages", request.get("input"))
    name = "messages" if "messages" in request else "input"
    for number, item in enumerate(items if isinstance(items, list) else ()):
        at = f"{name}[{number}]"
        if function := item.get("function_call"):
            yield f"{at}.function_call.arguments", json.loads(function["arguments"])
        for index, call in enumerate(item.get("tool_calls") or ()):
            if "custom" in call:
                continue
            yield (
                f"{at}.tool_calls[{index}].function.arguments",
                json.loads(call["function"]["arguments"]),
            )
        if item.get("type") == "function_call":
            yield f"{at}.arguments", json.loads(item["arguments"])
        content = item.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            kind = block.get("type", "")
            if kind == "tool_use":
                yield f"{at}.content[{index}].input", block["input"]
            elif kind == "server_tool_use" or kind.endswith("_tool_result"):
                yield f"{at}.content[{index}]", block


def _is_allowed_tools(choice: Any) -> bool:
    return isinstance(choice, Mapping) and choice.get("type") == "allowed_tools"


def _changes(value: Any) -> set[bool]:
    """Whether the CLI changes numbers of a value: surely (True), perhaps (False)."""
    if isinstance(value, Mapping):
        moved = {True} if _is_moved(list(value)) else set[bool]()
        return moved.union(*map(_changes, value.values()))
    if isinstance(value, list):
        return set[bool]().union(*map(_changes, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return set()
    if isinstance(value, int):
        is_exact = int(float(value)) == value if abs(value) < 10**300 else False
        return set() if abs(value) <= _LARGEST_INTEGER else {not is_exact}
    if "e" in repr(value):
        return {False}
    return {True} if value.is_integer() else set()


def _is_moved(names: Sequence[str]) -> bool:
    """Whether fields get another order: whole numbers come first, ascending."""
    numbers = [n for n in names if n.isdecimal() and str(int(n)) == n]
    numbers = [n for n in numbers if int(n) < _NO_INDEX]
    return list(names[: len(numbers)]) != sorted(numbers, key=int)
