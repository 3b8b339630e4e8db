"""Pages of lists, as OpenAI cuts them."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from ccproxy.store.records import UnknownItem


class HasId(Protocol):
    """A row with an item's id."""

    @property
    def id(self) -> Any:
        """The item's."""


_K = TypeVar("_K", bound=HasId)


def page_of(
    rows: Sequence[_K], after: str | None, limit: int, descending: bool
) -> tuple[Sequence[_K], bool]:
    """The page that begins after an item, and whether there is more.

    Args:
        rows: oldest first.
        after: an item's id; None: from the beginning.
        limit: the most that a page holds.
        descending: newest first.

    Raises:
        UnknownItem: there is no such item.
    """
    ordered = rows[::-1] if descending else rows
    begin = 0
    if after is not None:
        places = [n for n, row in enumerate(ordered) if row.id == after]
        if not places:
            raise UnknownItem(after)
        begin = places[0] + 1
    return ordered[begin : begin + limit], begin + limit < len(ordered)
