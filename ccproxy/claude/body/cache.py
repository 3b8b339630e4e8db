"""The prompt cache: places breakpoints, and names what the cache keeps. Pure.

The provider takes four breakpoints. The CLI uses one of them for its identity, and one
for the client's system prompt if there is one. The others are for the client's last
breakpoints. If the client has none, the proxy marks the end of the question, and the
end of the previous question. At the end of the previous question, the provider finds
the cache entry of the previous request, however many blocks the answer has, and even if
the client has changed the last block of its request.

All breakpoints of a request have the same time to live, the CLI's included.

The provider caches beginnings of requests. This module gives each beginning a name that
contains a hash of its content. A request can read from the cache what another request
has written if both have a beginning with the same name. Three beginnings end at a
breakpoint: the system prompt with the tools, the request up to the previous question,
and the whole request. The names of the last two also contain a hash of the settings,
because a changed setting invalidates the cached messages.

Source: rules 14, 24, 33 and 41 to 45 of the Messages API;
docs/cache.md, "Where the breakpoints are".
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import msgspec
from attrs import define, field, frozen
from msgspec import UNSET, Raw

from ccproxy.claude.body.result import CacheTTL, Notes
from ccproxy.claude.body.turns import Turn, is_thinking
from ccproxy.core.blocks import Block, Text, is_blank
from ccproxy.core.messages import CacheWish, Tool

# The index of a turn and of a block in it; or None and the index of a tool.
Place: TypeAlias = tuple[int | None, int]

# The provider's limit, without the breakpoint at the CLI's identity.
_BREAKPOINTS = 3
_MODE = "prompt_cache_options.mode"
# A shorter beginning is not cached for every model: 4096 tokens of four bytes.
_SHORTEST_BYTES = 4 * 4096
_DIGEST_BYTES = 16


class _CacheControl(msgspec.Struct):
    type: str = "ephemeral"
    ttl: str | None = None
    scope: str | None = None


@define
class Breakpoints:
    """Places the breakpoints, and chooses their time to live.

    Args:
        notes: gets the paths of breakpoints that are changed or removed.
        default_ttl: the time to live if the client sets none; None: the CLI's default.
        top_level: the client's top-level ``cache_control``, which marks the last block.
        allows_scope: whether the CLI's processes name the beta of ``scope``.
        has_system: whether there is a system prompt, which the CLI marks.
        wish: the cache options of a client of OpenAI's APIs.

    Attributes:
        ttl: the chosen time to live; None: the CLI's default.
    """

    notes: Notes
    default_ttl: CacheTTL | None = None
    top_level: Raw | None = None
    allows_scope: bool = False
    has_system: bool = True
    wish: CacheWish = field(factory=CacheWish)
    ttl: CacheTTL | None = field(default=None, init=False)

    def mark(
        self, tools: Sequence[Tool], turns: Sequence[Turn]
    ) -> tuple[list[Tool], list[Turn]]:
        """Set the final breakpoints; returns new lists of tools and turns.

        Args:
            tools: all tools that are sent.
            turns: the client's turns, without turns that the proxy adds.
        """
        marked = [
            *((None, n) for n, tool in enumerate(tools) if _marker(tool) is not None),
            *(
                (n, m)
                for n, turn in enumerate(turns)
                if not isinstance(turn.content, str)
                for m, block in enumerate(turn.content)
                if _marker(block) is not None
            ),
        ]
        deferred = {n for n, tool in enumerate(tools) if tool.value.defer_loading}
        allowed = [p for p in marked if p[0] is not None or p[1] not in deferred]
        free = _BREAKPOINTS - self.has_system
        automatic = self._automatic_places(turns, allowed, free)
        others = [p for p in allowed if p not in automatic]
        kept = others[len(others) - min(free - len(automatic), len(others)) :]
        stay = [p for p in allowed if p in kept or p in automatic]
        self.ttl = self._choose_ttl(tools, turns, stay)
        tools, turns = list(tools), list(turns)
        for place in marked:
            self._set(tools, turns, place, keep=place in kept or place in automatic)
        for place in automatic:
            if place not in marked:
                self._add(turns, place)
        return tools, turns

    def _automatic_places(
        self, turns: Sequence[Turn], marked: Sequence[Place], free: int
    ) -> list[Place]:
        """The places that the proxy marks, in the order of the turns.

        Args:
            turns: the client's turns.
            marked: the client's own breakpoints.
            free: how many breakpoints the request may have.
        """
        last, mode = _last_place(turns), self.wish.mode
        places: list[Place | None] = []
        if self.top_level is not None:
            self.notes.adjust(self.notes.name("cache_control"))
            places = [last]
        elif mode == "explicit" or (marked and mode is None):
            places = []
        elif not marked:
            places = [_end_of_previous_question(turns), last]
        elif last in marked or len(marked) < free:
            places = [last]
        elif _MODE in self.wish.paths:
            # The client's breakpoints take precedence over the one at the end.
            self.notes.adjust(_MODE)
        return [place for place in places if place is not None]

    def _choose_ttl(
        self,
        tools: Sequence[Tool],
        turns: Sequence[Turn],
        kept: Sequence[Place],
    ) -> CacheTTL | None:
        said = [] if self.top_level is None else [_read(self.top_level)]
        for place in kept:
            holder = _at(tools, turns, place)
            marker = _marker(holder)
            if marker is not None and not _is_without_ttl(holder):
                said.append(_read(marker))
        for control in said:
            if control is not None:
                return "1h" if control.ttl == "1h" else "5m"
        return self.wish.ttl or self.default_ttl

    def _set(
        self,
        tools: list[Tool],
        turns: list[Turn],
        place: Place,
        *,
        keep: bool,
    ) -> None:
        """Set the chosen time to live at a breakpoint of the client, or remove it."""
        holder = _at(tools, turns, place)
        marker = _marker(holder)
        if keep and marker is not None and self._may_stay(marker):
            return
        if not (keep and _is_without_ttl(holder)):
            self.notes.adjust(_path(holder))
        value = self._value() if keep else UNSET
        _replace(tools, turns, place, holder.replaced(cache_control=value))

    def _may_stay(self, marker: Raw) -> bool:
        found = _read(marker)
        if found is None:
            return False
        is_sent = found.scope is None or self.allows_scope
        return is_sent and (found.ttl or "5m") == (self.ttl or "5m")

    def _add(self, turns: list[Turn], place: Place) -> None:
        number, _ = place
        turn = turns[number or 0]
        if isinstance(turn.content, str):
            block = turn.text_block(cache_control=self._value())
            turns[number or 0] = Turn(turn.role, [block], turn.at, turn.extra)
            return
        holder = _at((), turns, place)
        _replace([], turns, place, holder.replaced(cache_control=self._value()))

    def _value(self) -> dict[str, str]:
        value = {"type": "ephemeral"}
        return {**value, "ttl": "1h"} if self.ttl == "1h" else value


def _marker(holder: Block | Tool) -> Raw | None:
    marker = getattr(holder.value, "cache_control", None)
    if not isinstance(marker, Raw) or bytes(marker).strip() == b"null":
        return None
    return marker


def _path(holder: Block | Tool) -> str:
    """The client's path of the breakpoint at a block or tool."""
    name = holder.renamed.get("cache_control", "cache_control")
    return f"{holder.at}.{name}" if holder.at else ""


def _read(marker: Raw) -> _CacheControl | None:
    """Decode a breakpoint; None: it is invalid."""
    try:
        return msgspec.json.decode(marker, type=_CacheControl)
    except msgspec.ValidationError:
        return None


def _is_without_ttl(holder: Block | Tool) -> bool:
    """Whether a breakpoint is OpenAI's, and inherits the request's time to live."""
    marker = _marker(holder)
    control = None if marker is None else _read(marker)
    is_openais = holder.renamed.get("cache_control") == "prompt_cache_breakpoint"
    return is_openais and (control is None or control.ttl is None)


def _at(tools: Sequence[Tool], turns: Sequence[Turn], place: Place) -> Block | Tool:
    turn, index = place
    return tools[index] if turn is None else turns[turn].blocks[index]


def _replace(
    tools: list[Tool],
    turns: list[Turn],
    place: Place,
    holder: Block | Tool,
) -> None:
    number, index = place
    if number is None and isinstance(holder, Tool):
        tools[index] = holder
    elif number is not None and isinstance(holder, Block):
        turn = turns[number]
        blocks = list(turn.blocks)
        blocks[index] = holder
        turns[number] = Turn(turn.role, blocks, turn.at, turn.extra)


def _last_place(turns: Sequence[Turn]) -> tuple[int, int] | None:
    """The last block that can have a breakpoint."""
    for number in range(len(turns) - 1, -1, -1):
        blocks = turns[number].content
        if isinstance(blocks, str):
            return number, 0
        for index in range(len(blocks) - 1, -1, -1):
            block = blocks[index]
            is_empty = isinstance(block.value, Text) and is_blank(block.value.text)
            if not is_thinking(block) and not is_empty:
                return number, index
    return None


def _end_of_previous_question(turns: Sequence[Turn]) -> tuple[int, int] | None:
    """The last block before the assistant's last turns that can have a breakpoint."""
    number = len(turns)
    while number and turns[number - 1].role != "assistant":
        number -= 1
    while number and turns[number - 1].role == "assistant":
        number -= 1
    return _last_place(turns[:number])


@frozen(kw_only=True)
class Digests:
    """The hashes of a conversation at its breakpoints.

    Attributes:
        start: the hash of the system prompt and the tools.
        asked: the hash up to the end of the previous question; empty: there is none.
        whole: the hash of the whole conversation.
    """

    start: str
    asked: str
    whole: str


def cached_prefixes(
    digests: Digests,
    *,
    model: str,
    system: str,
    tools: Sequence[Tool],
    turns: Sequence[Turn],
    settings: bytes,
) -> tuple[str, ...]:
    """The names of the beginnings that are long enough to be cached, longest first.

    Args:
        digests: the hashes of the conversation.
        model: the model's name.
        system: the system prompt.
        tools: all tools.
        turns: the turns.
        settings: the JSON of everything else.
    """
    size = len(system.encode()) + sum(len(tool.raw) for tool in tools)
    found = [(size, f"{model} {digests.start}")]
    about = blake2b(settings, digest_size=_DIGEST_BYTES).hexdigest()
    answer = max((n for n, t in enumerate(turns) if t.role == "assistant"), default=0)
    size += _size(turns[:answer])
    if digests.asked:
        found.append((size, f"{model} {about} {digests.asked}"))
    size += _size(turns[answer:])
    found.append((size, f"{model} {about} {digests.whole}"))
    return tuple(name for size, name in reversed(found) if size >= _SHORTEST_BYTES)


def _size(turns: Sequence[Turn]) -> int:
    return sum(
        len(turn.content)
        if isinstance(turn.content, str)
        else sum(len(block.raw) for block in turn.content)
        for turn in turns
    )
