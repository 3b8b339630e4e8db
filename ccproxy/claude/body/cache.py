"""Places the breakpoints of the prompt cache (``cache_control``). Pure.

The provider takes four breakpoints. The CLI uses two of them, in ``system``. So only
the client's last two breakpoints are kept. If the client has none, the proxy marks the
client's last block. From there, the provider looks back a limited number of blocks for
a cached prefix. If the end of the previous question is farther away, the proxy marks
that end, too.

All breakpoints of a request have the same time to live, the CLI's included.

Source: rules 14, 24, 33 and 41 to 44 of the Messages API.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from attrs import define, field
from msgspec import UNSET, Raw

from ccproxy.claude.body.result import CacheTTL, Notes
from ccproxy.claude.body.turns import Turn, is_thinking
from ccproxy.core.blocks import Block, Text, is_blank
from ccproxy.core.messages import Tool

# The index of a turn and of a block in it; or None and the index of a tool.
Place: TypeAlias = tuple[int | None, int]

# The provider's limit of four, without the CLI's two.
_BREAKPOINTS = 2
# The provider looks this many blocks back from a breakpoint for a cached prefix.
_LOOKBACK_BLOCKS = 20


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

    Attributes:
        ttl: the chosen time to live; None: the CLI's default.
    """

    notes: Notes
    default_ttl: CacheTTL | None = None
    top_level: Raw | None = None
    allows_scope: bool = False
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
        automatic = self._automatic_places(turns, is_needed=not marked)
        kept = [p for p in allowed if p not in automatic][
            -(_BREAKPOINTS - len(automatic)) :
        ]
        if len(automatic) >= _BREAKPOINTS:
            kept = []
        self.ttl = self._choose_ttl(tools, turns, kept)
        tools, turns = list(tools), list(turns)
        for place in marked:
            self._set(tools, turns, place, keep=place in kept or place in automatic)
        for place in automatic:
            if place not in marked:
                self._add(turns, place)
        return tools, turns

    def _automatic_places(
        self, turns: Sequence[Turn], *, is_needed: bool
    ) -> list[Place]:
        if self.top_level is not None:
            self.notes.adjust(self.notes.name("cache_control"))
        elif not is_needed:
            return []
        place = _last_place(turns)
        if place is None:
            return []
        if self.top_level is not None:
            return [place]
        before = _end_of_previous_question(turns)
        far = before is not None and _is_beyond_lookback(turns, before, place)
        return [before, place] if before and far else [place]

    def _choose_ttl(
        self,
        tools: Sequence[Tool],
        turns: Sequence[Turn],
        kept: Sequence[Place],
    ) -> CacheTTL | None:
        markers = [self.top_level] if self.top_level is not None else []
        markers += [m for p in kept if (m := _marker(_at(tools, turns, p))) is not None]
        for raw in markers:
            try:
                ttl = msgspec.json.decode(raw, type=_CacheControl).ttl
            except msgspec.ValidationError:
                continue
            return "1h" if ttl == "1h" else "5m"
        return self.default_ttl

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
        self.notes.adjust(_path(holder))
        value = self._value() if keep else UNSET
        _replace(tools, turns, place, holder.replaced(cache_control=value))

    def _may_stay(self, marker: Raw) -> bool:
        try:
            found = msgspec.json.decode(marker, type=_CacheControl)
        except msgspec.ValidationError:
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


def _is_beyond_lookback(
    turns: Sequence[Turn], start: tuple[int, int], end: tuple[int, int]
) -> bool:
    """Whether ``start`` is too far before ``end`` for the provider's lookback."""
    count = end[1] - start[1]
    for number in range(start[0], end[0]):
        content = turns[number].content
        count += 1 if isinstance(content, str) else len(content)
    return count >= _LOOKBACK_BLOCKS
