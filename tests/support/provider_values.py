"""The provider's rules for values: limits, thinking, media, cache.

Rules 17, 18, 35 to 43 of the rules of the Messages API (see `provider_rules`).
"""

import base64
import binascii
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tests.support.provider_models import ModelRules
from tests.support.provider_violation import Violation

_LEAST_BUDGET = 1024
_MOST_BREAKPOINTS = 4
# Blocks whose content may be blocks.
_OUTER = ("tool_result", "search_result", "mcp_tool_result")
_LONG_OUTPUT = "output-300k-2026-03-24"
_LONG_OUTPUT_TOKENS = 300_000
_MOST_SIDE, _MOST_SIDE_OF_MANY, _MANY = 8000, 2000, 20
_MOST_IMAGE_BYTES = 10 * 2**20
_SMALL_WINDOW = 200_000
_MOST_IMAGES, _MOST_IMAGES_SMALL = 600, 100
_PAGE = re.compile(rb"/Type\s*/Page\b")
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def value_violations(
    body: Mapping[str, Any], rules: ModelRules, betas: Collection[str]
) -> Iterator[Violation]:
    """The violations in the values of a body with a right shape."""
    yield from _thinking(body, rules)
    yield from _max_tokens(body, rules, betas)
    yield from _sampling(body, rules)
    yield from _output_config(body, rules)
    yield from _stop_sequences(body)
    yield from _media(body, rules)
    yield from _cache(body)


def _thinking(body: Mapping[str, Any], rules: ModelRules) -> Iterator[Violation]:
    """17 and 18: which thinking, and how much of it."""
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking["type"]
    if kind not in rules.thinking:
        yield Violation(17, "thinking", _unsupported(kind, rules))
        return
    effort = (body.get("output_config") or {}).get("effort")
    is_calm = kind in ("disabled", "between_tools")
    if is_calm and rules.calm_up_to_high and effort in ("xhigh", "max"):
        words = f'"thinking.type.{kind}" is not supported with effort "{effort}".'
        yield Violation(17, "thinking", words)
    if kind == "enabled":
        budget = thinking["budget_tokens"]
        if budget < _LEAST_BUDGET:
            words = f"Input should be greater than or equal to {_LEAST_BUDGET}"
            yield Violation.at(18, "thinking.enabled.budget_tokens", words)
        if budget >= body["max_tokens"]:
            words = "`max_tokens` must be greater than `thinking.budget_tokens`."
            yield Violation(18, "max_tokens", words)


def _unsupported(kind: str, rules: ModelRules) -> str:
    if kind == "adaptive":
        return "adaptive thinking is not supported on this model"
    words = f'"thinking.type.{kind}" is not supported for this model.'
    if "adaptive" in rules.thinking:
        words += (
            ' Use "thinking.type.adaptive" and "output_config.effort" to control '
            "thinking behavior."
        )
    return words


def _max_tokens(
    body: Mapping[str, Any], rules: ModelRules, betas: Collection[str]
) -> Iterator[Violation]:
    """35: the largest ``max_tokens``."""
    wanted, most = body["max_tokens"], rules.max_tokens
    if _LONG_OUTPUT in betas:
        most = max(most, _LONG_OUTPUT_TOKENS)
    if wanted > most:
        words = (
            f"{wanted} > {most}, which is the maximum allowed number of output tokens "
            f"for {body['model']}"
        )
        yield Violation.at(35, "max_tokens", words)
    if wanted < 0 or (wanted == 0 and body.get("stream")):
        words = "Input should be greater than or equal to 1"
        yield Violation.at(35, "max_tokens", words)


def _sampling(body: Mapping[str, Any], rules: ModelRules) -> Iterator[Violation]:
    """36: which model takes which sampling parameter."""
    given = [key for key in ("temperature", "top_p", "top_k") if key in body]
    for key in given:
        if rules.sampling == "none" or (
            rules.sampling == "default" and (key == "top_k" or body[key] != 1)
        ):
            yield Violation(36, key, f"`{key}` is deprecated for this model.")
    kind = (body.get("thinking") or {}).get("type")
    if kind in ("adaptive", "enabled") and body.get("temperature", 1) != 1:
        words = "`temperature` may only be set to 1 when thinking is enabled."
        yield Violation(36, "temperature", words)
    if "temperature" in body and not 0 <= body["temperature"] <= 1:
        words = "range: 0..1"
        yield Violation.at(36, "temperature", words)


def _output_config(body: Mapping[str, Any], rules: ModelRules) -> Iterator[Violation]:
    """37 and 38: effort, and what excludes a format."""
    config = body.get("output_config") or {}
    effort = config.get("effort")
    if effort is not None and not rules.efforts:
        words = "This model does not support the effort parameter."
        yield Violation(37, "output_config.effort", words)
    elif effort is not None and effort not in rules.efforts:
        words = f"This model does not support effort level '{effort}'."
        yield Violation(37, "output_config.effort", words)
    if config.get("format") is None:
        return
    for place, block in blocks(body):
        if block["type"] == "document" and (block.get("citations") or {}).get(
            "enabled"
        ):
            words = "Citations cannot be enabled together with output_config.format"
            yield Violation.at(38, place, words)
    messages = body["messages"]
    if messages and messages[-1]["role"] == "assistant":
        words = "output_config.format cannot be used with assistant message prefill"
        yield Violation(38, "output_config.format", words)


def _stop_sequences(body: Mapping[str, Any]) -> Iterator[Violation]:
    """39: each sequence has a visible character."""
    for index, sequence in enumerate(body.get("stop_sequences", ())):
        if not sequence.strip():
            words = "each stop sequence must contain non-whitespace"
            yield Violation(39, f"stop_sequences.{index}", f"stop_sequences: {words}")


def blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each block of the messages with its place, also blocks in blocks."""
    for number, message in enumerate(body["messages"]):
        content = message.get("content")
        if isinstance(content, list):
            yield from _nested(content, f"messages.{number}.content")


def _nested(
    content: Sequence[Mapping[str, Any]], place: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, block in enumerate(content):
        where = f"{place}.{index}"
        yield where, block
        kind, path = block["type"], "content"
        inner = block.get("content") if kind in _OUTER else None
        if kind == "document" and block["source"]["type"] == "content":
            path, inner = "source.content.content", block["source"]["content"]
        if isinstance(inner, list):
            yield from _nested(inner, f"{where}.{kind}.{path}")


def _media(body: Mapping[str, Any], rules: ModelRules) -> Iterator[Violation]:
    """40: how many images, of what size; how many pages."""
    found = list(blocks(body))
    images = [(place, b) for place, b in found if b["type"] == "image"]
    most = _MOST_IMAGES_SMALL if rules.window <= _SMALL_WINDOW else _MOST_IMAGES
    if len(images) > most:
        yield Violation(40, "messages", f"Too many images: {len(images)} > {most}")
    side = _MOST_SIDE_OF_MANY if len(images) > _MANY else _MOST_SIDE
    for place, image in images:
        yield from _image(image["source"], f"{place}.image.source.base64", side)
    for place, block in found:
        source = block.get("source", {}) if block["type"] == "document" else {}
        if source.get("media_type") == "application/pdf" and "data" in source:
            pages = len(_PAGE.findall(_decoded(source["data"]) or b""))
            if pages > most:
                words = f"A maximum of {most} PDF pages may be provided."
                yield Violation.at(40, f"{place}.pdf.source.base64.data", words)


def _image(source: Mapping[str, Any], place: str, most: int) -> Iterator[Violation]:
    if source["type"] != "base64":
        return
    size = len(source["data"])
    if size > _MOST_IMAGE_BYTES:
        words = f"image exceeds 10 MB maximum: {size} bytes > {_MOST_IMAGE_BYTES} bytes"
        yield Violation.at(40, place, words)
    data = _decoded(source["data"])
    if data is None:
        yield Violation.at(40, f"{place}.data", "Input should be valid base64")
        return
    found, declared = _type(data), source["media_type"]
    if found not in (None, declared):
        words = (
            f"The image was specified using the {declared} media type, but the image "
            f"appears to be a {found} image"
        )
        yield Violation.at(40, place, words)
    if max(_sides(data), default=0) > most:
        many = " for many-image requests" if most == _MOST_SIDE_OF_MANY else ""
        words = (
            "At least one of the image dimensions exceed max allowed size"
            f"{many}: {most} pixels"
        )
        yield Violation.at(40, f"{place}.data", words)


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _type(data: bytes) -> str | None:
    """The type of an image by its first bytes; None: another format."""
    starts = {b"\x89PNG": "png", b"GIF8": "gif", b"\xff\xd8\xff": "jpeg"}
    found = [kind for start, kind in starts.items() if data.startswith(start)]
    return f"image/{found[0]}" if found else None


def _sides(data: bytes) -> Sequence[int]:
    """Width and height of a PNG, GIF or JPEG; None: another format."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:4] == b"GIF8" and len(data) >= 10:
        return struct.unpack("<HH", data[6:10])
    place = 2 if data.startswith(b"\xff\xd8") else len(data)
    while place + 9 <= len(data) and data[place] == 0xFF:
        if data[place + 1] in _JPEG_SIZES:
            return struct.unpack(">HH", data[place + 5 : place + 9])
        place += 2 + int(struct.unpack(">H", data[place + 2 : place + 4])[0])
    return ()


def _cache(body: Mapping[str, Any]) -> Iterator[Violation]:
    """41, 42 and 43: how many breakpoints, and in which order."""
    found = list(_breakpoints(body))
    automatic = body.get("cache_control")
    count = len(found) + bool(automatic)
    if count > _MOST_BREAKPOINTS:
        rule = 43 if automatic and len(found) == _MOST_BREAKPOINTS else 41
        words = (
            f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be "
            f"provided. Found {count}."
        )
        yield Violation(rule, "cache_control", words)
    is_short = False
    for place, control in found:
        ttl = control.get("ttl", "5m")
        if ttl == "1h" and is_short:
            words = (
                "a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following "
                "order: `tools`, `system`, `messages`."
            )
            yield Violation.at(42, f"{place}.cache_control.ttl", words)
        is_short = is_short or ttl == "5m"
    if automatic:
        wanted = automatic.get("ttl", "5m")
        last = _last_control(body)
        if last is not None and last.get("ttl", "5m") != wanted:
            words = "the last block already has a cache_control with another ttl"
            yield Violation.at(43, "cache_control", words)
        elif wanted == "1h" and is_short:
            words = "a ttl='1h' cache_control must not come after a ttl='5m' block"
            yield Violation.at(42, "cache_control", words)


def _breakpoints(
    body: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The breakpoints in the order in which the blocks are read."""
    system = body.get("system", [])
    parts = [(f"tools.{n}", tool) for n, tool in enumerate(body.get("tools", []))]
    if isinstance(system, list):
        parts.extend((f"system.{n}", block) for n, block in enumerate(system))
    parts.extend(blocks(body))
    for place, part in parts:
        control = part.get("cache_control")
        if control:
            yield place, control


def _last_control(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    content = body["messages"][-1].get("content") if body["messages"] else None
    if not isinstance(content, list) or not content:
        return None
    control: Mapping[str, Any] | None = content[-1].get("cache_control")
    return control
