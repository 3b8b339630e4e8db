"""Compares the body at the upstream with the client's request to ``/v1/messages``.

The comparison follows the documents of the Messages API: two requests are equal if they
mean the same to the API. It ignores what the CLI adds or sets:

- ``system``: its first two blocks are the CLI's attribution and identity. The client's
  system prompt is one block behind them, its blocks joined; their breakpoints are lost.
- ``metadata`` and ``stream`` are the CLI's; ``model`` may be an alias of the client's.
- ``thinking``, ``max_tokens``, ``context_management``, ``diagnostics`` and the effort
  are the CLI's where the client says nothing; ``display`` where it names none.
- ``tools`` are an empty list where there are none; an empty list of stops is none.
- Breakpoints may be added, two at most. A ``content`` of one text block may be that
  text, for that reason.
- The CLI reads and prints the JSON anew: as numbers are those of JavaScript, and half
  a surrogate is U+FFFD. The order of an object's keys has no meaning.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_CLIS_BLOCKS = 2
_MOST_ADDED = 2
_BILLING = "x-anthropic-billing-header"
# What the API reads as the default.
_DEFAULT_TTL = "5m"
_CLIS_DEFAULTS = ("thinking", "max_tokens", "context_management", "diagnostics")
_NOT_COMPARED = ("system", "metadata", "stream", "model", "output_config")
_SURROGATE = re.compile("[\ud800-\udfff]")


def differences(
    sent: Mapping[str, Any], upstream: Mapping[str, Any], *, joined: bool = False
) -> list[str]:
    """The differences between a client's request and the body at the upstream.

    Args:
        sent: the JSON that a client posted to ``/v1/messages``; of another API's
            request, what it means in the Messages API.
        upstream: the body that the scripted API recorded.
        joined: compare what is read, however it was said: the API joins neighbours of
            one role, a text is a block, results have no order, and what is the default
            may be left out. Paths are then those of the joined turns.

    Returns:
        A line for each difference, which begins with its path.
    """
    asked, told = printed(sent), printed(upstream)
    if joined:
        asked, told = _read(asked), _read(told)
    found = [*_system(asked, told), *_model(asked, told), *_output(asked, told)]
    added: list[str] = []
    for key in sorted({*asked, *told} - set(_NOT_COMPARED)):
        if key == "cache_control":
            found.extend(_automatic(asked, told))
        elif _is_clis(key, asked, told):
            continue
        elif key not in asked or key not in told:
            found.append(_only(key, asked, told))
        else:
            found.extend(_compare(key, _usual(asked, key), _usual(told, key), added))
    if len(added) > _MOST_ADDED:
        found.append(f"cache_control: {len(added)} breakpoints added: {added}")
    return found


def _read(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body in a normal form."""
    read = {**body, "messages": _turns(body["messages"])}
    choice = dict(read.pop("tool_choice", {"type": "auto"}))
    if not choice.get("disable_parallel_tool_use"):
        choice.pop("disable_parallel_tool_use", None)
    if choice != {"type": "auto"}:
        read["tool_choice"] = choice
    return read


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with neighbours of one role joined, as the API reads them."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = [_block(block) for block in _blocks(message.get("content"))]
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] = [*turns[-1]["content"], *blocks]
        else:
            turns.append({**message, "content": blocks})
    for turn in turns:
        # Results have no order: each names its call.
        turn["content"].sort(
            key=lambda block: (
                (0, block["tool_use_id"]) if block["type"] == "tool_result" else (1, "")
            )
        )
    return turns


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content or ())


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    if block["type"] != "tool_result":
        return dict(block)
    is_error = {"is_error": True} if block.get("is_error") else {}
    rest = {k: v for k, v in block.items() if k not in ("content", "is_error")}
    return {**rest, **is_error, "content": _blocks(block.get("content"))}


def _is_clis(key: str, asked: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Whether a field is the CLI's because the client does not set it."""
    if key in ("tools", "stop_sequences"):
        return not asked.get(key) and not told.get(key)
    return key not in asked and key in _CLIS_DEFAULTS


def printed(value: Any) -> Any:
    """A JSON value as the CLI prints it, with JavaScript's numbers.

    Whole numbers over 2**53 are rounded, 1.0 is 1, -0.0 is 0, what is too large is
    null, and half a surrogate is U+FFFD.
    """
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        # Two halves that were written apart are one character.
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return _SURROGATE.sub("\ufffd", whole)
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, Mapping):
        return {printed(key): printed(each) for key, each in value.items()}
    return [printed(each) for each in value]


def _number(value: float) -> float | int | None:
    try:
        double = float(value)
    except OverflowError:
        return None
    if not math.isfinite(double):
        return None
    return int(double) if double.is_integer() else double


def _system(asked: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    given = asked.get("system") or []
    blocks = [{"text": given}] if isinstance(given, str) else given
    texts = [block["text"] for block in blocks]
    texts = [text for text in texts if text.strip() and not text.startswith(_BILLING)]
    arrived = told.get("system")
    if not isinstance(arrived, list) or len(arrived) < _CLIS_BLOCKS:
        yield f"system: the CLI's own two blocks are not there: {_short(arrived)}"
        return
    if not arrived[0]["text"].startswith(f"{_BILLING}: cc_version="):
        yield f"system.0: not the CLI's attribution: {_short(arrived[0])}"
    rest = [block["text"] for block in arrived[_CLIS_BLOCKS:]]
    # How blocks are joined is nobody's rule.
    wanted = "\n{0,2}".join(re.escape(text) for text in texts)
    if len(rest) != bool(texts) or not re.fullmatch(wanted, "".join(rest)):
        yield f"system: sent {_short(texts)}, upstream {_short(rest)}"


def _model(asked: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    wanted = str(asked.get("model", "")).removesuffix("[1m]")
    if wanted.startswith("claude-") and told.get("model") != wanted:
        yield f"model: sent {wanted!r}, upstream {told.get('model')!r}"


def _output(asked: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    wanted = asked.get("output_config") or {}
    arrived = told.get("output_config") or {}
    for key in sorted({*wanted, *arrived}):
        if key == "effort" and wanted.get(key) is None:
            continue
        if wanted.get(key) != arrived.get(key):
            yield from _compare(
                f"output_config.{key}", wanted.get(key), arrived.get(key), []
            )


def _automatic(asked: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    """Allow a breakpoint at the last block, where the API would set it."""
    wanted, arrived = asked.get("cache_control"), told.get("cache_control")
    if wanted == arrived or (wanted is None and arrived is None):
        return
    content = told["messages"][-1].get("content")
    last = content[-1].get("cache_control") if isinstance(content, list) else None
    if (
        arrived is not None
        or wanted is None
        or last is None
        or not _alike(wanted, last)
    ):
        yield f"cache_control: sent {wanted}, upstream {arrived}"


def _usual(body: Mapping[str, Any], key: str) -> Any:
    value = body[key]
    if key == "thinking" and isinstance(value, Mapping):
        # Where a client names none, the server chooses what its answer needs.
        return {"display": None, **value}
    return value


def _compare(path: str, sent: Any, upstream: Any, added: list[str]) -> Iterator[str]:
    if path == "thinking.display" and sent is None:
        return
    if path.endswith(".content"):
        sent, upstream = _one_shape(sent, upstream)
    if isinstance(sent, Mapping) and isinstance(upstream, Mapping):
        for key in sorted({*sent, *upstream}):
            where = f"{path}.{key}"
            if key == "cache_control" and _is_block(path):
                yield from _breakpoint(where, sent.get(key), upstream.get(key), added)
            elif key in sent and key in upstream:
                yield from _compare(where, sent[key], upstream[key], added)
            else:
                yield _only(where, sent, upstream, key)
    elif isinstance(sent, list) and isinstance(upstream, list):
        if len(sent) != len(upstream):
            yield f"{path}: sent {len(sent)} items, upstream {len(upstream)}"
        for index, (one, other) in enumerate(zip(sent, upstream, strict=False)):
            yield from _compare(f"{path}.{index}", one, other, added)
    elif sent != upstream or isinstance(sent, bool) is not isinstance(upstream, bool):
        yield f"{path}: sent {_short(sent)}, upstream {_short(upstream)}"


def _is_block(path: str) -> bool:
    """Whether a value is a tool or a content block, which may have a breakpoint."""
    return bool(re.fullmatch(r"(tools\.\d+|messages\.\d+(\.content\.\d+)+)", path))


def _breakpoint(path: str, sent: Any, upstream: Any, added: list[str]) -> Iterator[str]:
    if sent is None and upstream is not None:
        added.append(path)
    elif not _alike(sent, upstream):
        yield f"{path}: sent {_short(sent)}, upstream {_short(upstream)}"


def _alike(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is None and other is None
    return {"ttl": _DEFAULT_TTL, **one} == {"ttl": _DEFAULT_TTL, **other}


def _one_shape(sent: Any, upstream: Any) -> tuple[Any, Any]:
    """Treat a text and a block with that text and a breakpoint as equal."""
    if isinstance(sent, str) and isinstance(upstream, list):
        return [{"type": "text", "text": sent}], upstream
    return sent, upstream


def _only(
    path: str, sent: Mapping[str, Any], upstream: Mapping[str, Any], key: str = ""
) -> str:
    name = key or path
    if name in sent:
        return f"{path}: sent {_short(sent[name])}, not upstream"
    return f"{path}: not sent, upstream {_short(upstream[name])}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def only_named(found: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """The differences, without those at paths that a test expects."""
    return [line for line in found if not line.startswith(tuple(prefixes))]
