"""The scripted Messages API for examining a CLI binary."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort

from ccproxy.server.fake_upstream import FakeMessagesAPI, MessagesSite, Reply, words


def _reply(_: Mapping[str, Any]) -> Reply:
    return Reply(blocks=(words("Yes."),))


class ProbeUpstream:
    """Answers every request with one word, and records the requests."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._api = FakeMessagesAPI(_reply, reactor, record=True)
        self._port: IListeningPort | None = None

    @property
    def bodies(self) -> Sequence[Mapping[str, Any]]:
        """The bodies of all requests so far."""
        return self._api.bodies

    def listen(self) -> str:
        """Open the port; returns the URL."""
        site = MessagesSite(self._api, self._reactor)
        self._port = self._reactor.listenTCP(0, site, interface="127.0.0.1")
        address: Any = self._port.getHost()
        return f"http://127.0.0.1:{address.port}"

    async def close(self) -> None:
        """Close the port."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
