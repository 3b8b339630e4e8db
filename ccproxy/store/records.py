"""What goes into the store and comes out of it. Documents are opaque JSON."""

from attrs import frozen

# What a response is until it is over.
RUNNING = ("queued", "in_progress")


class Vanished(Exception):
    """What a write builds on was deleted before it; one line for the client."""


class UnknownItem(Exception):
    """A page was to begin after an item that is not there."""


@frozen
class Item:
    """One item of a conversation."""

    id: str
    document: bytes


@frozen(kw_only=True)
class StoredResponse:
    """A response as it is now.

    Attributes:
        status: the truth, also where the document was written earlier.
    """

    id: str
    created_seconds: int
    status: str
    document: bytes
    is_background: bool

    @property
    def is_running(self) -> bool:
        """Whether a server works on it."""
        return self.status in RUNNING


@frozen(kw_only=True)
class NewResponse:
    """A response that was begun.

    Attributes:
        previous_id: the response that it continues.
        conversation_id: the conversation that it is a part of.
        input: the items that its request brought.
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
    """How a response ended.

    Attributes:
        events: the whole stream that told it.
    """

    status: str
    document: bytes
    output: tuple[Item, ...]
    events: bytes


@frozen
class ResponseChain:
    """A response and everything that came before it, oldest first.

    What came before a response in a conversation is that conversation's, and not here.
    """

    status: str
    items: tuple[Item, ...]
    conversation_id: str | None = None


@frozen
class Page:
    """Some items of a longer list."""

    items: tuple[Item, ...]
    has_more: bool


@frozen
class Conversation:
    """A conversation without its items; ``metadata`` is JSON."""

    id: str
    created_seconds: int
    metadata: bytes
