"""The values that the store takes and returns. Their documents are opaque JSON."""

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from attrs import frozen

# The statuses of a response that has not ended.
RUNNING = ("queued", "in_progress")

# The ids that the store accepts. Databases differ in the treatment of other characters.
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


# The value of ``most_bytes`` if the caller sets no limit.
NO_LIMIT = 2**62


class ReferenceDeleted(Exception):
    """A write refers to a row that was deleted; the message is for the client."""


class TooLarge(Exception):
    """The documents that a request needs are larger than the caller's limit."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes


class UnknownItem(Exception):
    """The item after which a page should begin does not exist."""


@frozen
class Item:
    """An item of a conversation or response."""

    id: str
    document: bytes


@frozen(kw_only=True)
class StoredResponse:
    """The current state of a stored response.

    Attributes:
        status: the current status; ``document`` may have an older one.
    """

    id: str
    created_seconds: int
    status: str
    document: bytes
    is_background: bool

    @property
    def is_running(self) -> bool:
        """Whether a server works on the response."""
        return self.status in RUNNING


@frozen(kw_only=True)
class NewResponse:
    """A response that has begun.

    Attributes:
        previous_id: the response that this response continues.
        conversation_id: the conversation that this response belongs to.
        input: the items in the request.
    """

    id: str
    created_seconds: int
    status: str
    document: bytes
    is_background: bool
    previous_id: str | None
    conversation_id: str | None
    input: tuple[Item, ...]


@frozen(kw_only=True)
class FinalResponse:
    """The end of a response.

    Attributes:
        events: the JSON of each event of the response's stream.
    """

    status: str
    document: bytes
    output: tuple[Item, ...]
    events: tuple[bytes, ...]


@frozen
class ResponseChain:
    """The items of a response and of all responses before it, oldest first.

    A response in a conversation has only its own items here: the items before them
    belong to the conversation.
    """

    status: str
    items: tuple[Item, ...]
    conversation_id: str | None = None


@frozen
class Conversation:
    """A conversation without its items; ``metadata`` is JSON."""

    id: str
    created_seconds: int
    metadata: bytes


@frozen
class Page:
    """Some consecutive items of a list."""

    items: tuple[Item, ...]
    has_more: bool


class HasId(Protocol):
    """A row with the id of an item, and the bytes of its document."""

    @property
    def size(self) -> int:
        """The bytes of the item's document."""

    @property
    def id(self) -> Any:
        """The item's id."""


_K = TypeVar("_K", bound=HasId)

# The size limit of a page with several items, because each client that reads slowly
# keeps a page in memory. A single item may be larger.
_PAGE_BYTES = 4 * 2**20


def page_of(
    rows: Sequence[_K], after: str | None, limit: int, descending: bool
) -> tuple[Sequence[_K], bool]:
    """Cut one page out of a list of rows.

    Args:
        rows: all rows, oldest first.
        after: the id of the item before the page; None: the page is the first.
        limit: the largest number of rows in a page.
        descending: whether the newest row comes first.

    Returns:
        The rows of the page, and whether more rows follow.

    Raises:
        UnknownItem: no row has the id ``after``.
    """
    ordered = rows[::-1] if descending else rows
    begin = 0
    if after is not None:
        places = [n for n, row in enumerate(ordered) if row.id == after]
        if not places:
            raise UnknownItem(after)
        begin = places[0] + 1
    room_bytes = _PAGE_BYTES
    end = begin
    for row in ordered[begin : begin + limit]:
        room_bytes -= row.size
        if room_bytes < 0 and end > begin:
            break
        end += 1
    return ordered[begin:end], end < len(ordered)


def is_possible_id(identifier: str) -> bool:
    """Whether the store accepts an id."""
    return _ID.fullmatch(identifier) is not None
