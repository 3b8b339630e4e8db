"""Lets requests with the same beginning wait for the first of them.

A request writes its beginning to the provider's prompt cache. Other requests can read
it only when the answer to the writing request has begun (rule 45). If a client sends
several requests with the same long beginning at once, it pays for each write.

=============  ==================================================================
not cached     the next request is sent at once, and writes the beginning
being written  other requests wait until the answer to the writing request begins
cached         requests are sent at once, until the provider's cache expires
=============  ==================================================================

If the writing request fails or is cancelled before its answer begins, the next request
writes the beginning. No request waits longer than ``--cache-wait``.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.pool.requests import PoolClient

# The most beginnings that are remembered; the oldest are forgotten first.
_MOST_KNOWN = 4096


@define(eq=False)
class _Entry:
    """A request that waits or was sent.

    Attributes:
        prefixes: its prefixes.
        seconds: how long the provider caches them.
        timer: the time limit of a request that waits.
    """

    prefixes: Sequence[str]
    seconds: float
    timer: IDelayedCall | None = None


class PrefixGate:
    """Submits requests to the pool, at once or when their beginning is cached.

    Args:
        submit: gives a request to the pool.
        clock: for the time limit.
        wait_seconds: the time limit; 0: no request waits.
    """

    def __init__(
        self,
        submit: Callable[[PoolClient], None],
        clock: IReactorTime,
        wait_seconds: float,
    ) -> None:
        self._submit = submit
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._entries: dict[PoolClient, _Entry] = {}
        self._writers: dict[str, PoolClient] = {}
        # The time at which each cached prefix expires.
        self._known: OrderedDict[str, float] = OrderedDict()

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return sum(entry.timer is not None for entry in self._entries.values())

    def submit(
        self, client: PoolClient, prefixes: Sequence[str], cached_seconds: float
    ) -> None:
        """Submit a request, now or later.

        Args:
            client: the request.
            prefixes: the names of its beginnings that are long enough to be cached,
                the longest first.
            cached_seconds: how long the provider keeps what the request writes.
        """
        if not prefixes or not self._wait_seconds:
            self._submit(client)
            return
        entry = self._entries[client] = _Entry(prefixes, cached_seconds)
        if self._must_wait(entry):
            entry.timer = self._clock.callLater(
                self._wait_seconds, self._go, client, entry
            )
        else:
            self._go(client, entry)

    def begun(self, client: PoolClient) -> None:
        """Note that the answer to a request has begun: its prefixes are cached."""
        entry = self._entries.pop(client, None)
        if entry is None:
            return
        until = self._clock.seconds() + entry.seconds
        for prefix in entry.prefixes:
            self._known[prefix] = until
            self._known.move_to_end(prefix)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        self._forget_writer(client, entry)

    def left(self, client: PoolClient) -> None:
        """Note that a request is over, perhaps before its answer has begun."""
        entry = self._entries.pop(client, None)
        if entry is not None:
            _stop(entry)
            self._forget_writer(client, entry)

    def release(self) -> None:
        """Submit all waiting requests: the server is being stopped."""
        for client, entry in tuple(self._entries.items()):
            if entry.timer is not None:
                self._go(client, entry)

    def _must_wait(self, entry: _Entry) -> bool:
        """Whether a prefix is being written, and no longer prefix is cached."""
        now = self._clock.seconds()
        for prefix in entry.prefixes:
            if self._known.get(prefix, 0.0) > now:
                return False
            if prefix in self._writers:
                return True
        return False

    def _go(self, client: PoolClient, entry: _Entry) -> None:
        _stop(entry)
        for prefix in entry.prefixes:
            self._writers.setdefault(prefix, client)
        self._submit(client)

    def _forget_writer(self, client: PoolClient, entry: _Entry) -> None:
        for prefix in entry.prefixes:
            if self._writers.get(prefix) is client:
                del self._writers[prefix]
        for other, waiting in tuple(self._entries.items()):
            if waiting.timer is not None and not self._must_wait(waiting):
                self._go(other, waiting)


def _stop(entry: _Entry) -> None:
    """Stop the time limit of a request, if it waits."""
    timer, entry.timer = entry.timer, None
    if timer is not None and timer.active():
        timer.cancel()
