"""The scripted API for examinations of CLI binaries, and the stored results."""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from typing_extensions import override

from ccproxy import __version__
from ccproxy.claude.installation.bench import TOO_LONG_MESSAGE, ScriptedAnswer
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.server.fake_upstream import FakeMessagesAPI, MessagesSite
from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words

_FILE = "claude-binaries.json"
_MOST_KEPT = 20


class _Entry(msgspec.Struct, frozen=True):
    """The result for one binary; ``by`` is the version of ccproxy that examined it."""

    binary: BinaryID
    result: ProbeResult
    by: str


def _remove_unfinished(folder: Path) -> None:
    """Remove the files of servers that were killed while they wrote a result."""
    for path in folder.glob(f"{_FILE}.*"):
        pid = path.suffix.removeprefix(".")
        try:
            if pid.isdecimal():
                os.kill(int(pid), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, OverflowError):
            # Another user's process.
            continue


class ProbeResultFile:
    """Stores results in a file; a result is valid for the same version of ccproxy.

    Args:
        folder: the state directory; None: nothing is stored.
    """

    _log = Logger()

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _FILE

    def load(self, binary: BinaryID) -> ProbeResult | None:
        """The stored result of a binary, if there is one."""
        for entry in self._read():
            if entry.binary == binary and entry.by == __version__:
                return entry.result
        return None

    def save(self, binary: BinaryID, result: ProbeResult) -> None:
        """Store a result; a failure is logged."""
        if self._path is None:
            return
        others = [e for e in self._read() if e.binary != binary]
        kept = [*others, _Entry(binary, result, __version__)][-_MOST_KEPT:]
        new_file = self._path.with_name(f"{_FILE}.{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_unfinished(self._path.parent)
            new_file.write_bytes(msgspec.json.encode(kept))
            new_file.replace(self._path)
        except OSError as error:
            self._log.warn(
                "cannot store the result of the claude CLI's examination: {error}",
                error=str(error),
            )

    def _read(self) -> list[_Entry]:
        if self._path is None:
            return []
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[_Entry])
        except (OSError, msgspec.DecodeError):
            # There is no file yet, or another version has written it.
            return []


class _Root(Resource):
    """Has the API at a secret path, and nothing else."""

    @override
    def getChild(self, path: bytes, request: Request) -> IResource:
        missing: IResource = notFound()
        return missing


class ProbeUpstream:
    """The scripted Messages API of an examination; implements `ScriptedUpstream`.

    Args:
        reactor: opens the port, and is the clock.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._api = FakeMessagesAPI(self._reply, reactor, record=True)
        self._port: IListeningPort | None = None
        self._next = ScriptedAnswer.TEXT
        self._waiting: set[Deferred[None]] = set()

    @property
    def bodies(self) -> Sequence[Mapping[str, Any]]:
        """The bodies of all requests so far."""
        return self._api.bodies

    @property
    def client_version(self) -> str | None:
        """The version in the ``user-agent`` of the last request; None: it has none."""
        requests = self._api.requests
        agent = requests[-1].headers.get("user-agent", "") if requests else ""
        match = _AGENT.search(agent)
        return None if match is None else match[1]

    @property
    def betas(self) -> Collection[str]:
        """The betas in the header of the last request."""
        requests = self._api.requests
        return requests[-1].betas if requests else ()

    def listen(self) -> str:
        """Open the port; returns the URL.

        Other local users can reach the port. They do not know the path, so their
        requests are no part of the examination.
        """
        secret = token_hex()
        root = _Root()
        root.putChild(secret.encode(), self._api)
        site = MessagesSite(root, self._reactor)
        self._port = self._reactor.listenTCP(0, site, interface="127.0.0.1")
        address: Any = self._port.getHost()
        return f"http://127.0.0.1:{address.port}/{secret}"

    def answer_next(self, answer: ScriptedAnswer) -> None:
        """Choose the answer to the next request."""
        self._next = answer

    async def close(self) -> None:
        """Close the port."""
        for waiting in tuple(self._waiting):
            waiting.cancel()
        port, self._port = self._port, None
        if port is not None:
            # A cancelled `stopListening` would leave the port open.
            closed: Deferred[Any] = Deferred()
            maybeDeferred(port.stopListening).chainDeferred(closed)
            await closed

    def _reply(self, _: Mapping[str, Any]) -> Reply:
        answer = self._next
        if answer is not ScriptedAnswer.TOO_LONG:
            # Some versions repeat such a request, without an announcement.
            self._next = ScriptedAnswer.TEXT
        return _REPLIES[answer](self._moment)

    def _moment(self) -> "Deferred[None]":
        """Fires when even a busy CLI has acknowledged the limit on its requests."""
        waiting: Deferred[None] = deferLater(self._reactor, _MOMENT_SECONDS)
        self._waiting.add(waiting)
        waiting.addErrback(lambda failure: failure.trap(CancelledError) and None)
        waiting.addCallback(lambda _: self._waiting.discard(waiting))
        return waiting


_AGENT = re.compile(r"claude-cli/(\d+\.\d+\.\d+)")
_MOMENT_SECONDS = 0.3
_SOME = words("one two three")
_CALL = ScriptedBlock(('{"a": ', "1}"), tool_use=("toolu_1", "tool_1"))
_FORM = ScriptedBlock(('{"a": ', "1}"), tool_use=("toolu_1", "StructuredOutput"))
_HTTP_BAD, _HTTP_OVERLOADED = 400, 529

_Moment = Callable[[], "Deferred[None]"]
_REPLIES: Mapping[ScriptedAnswer, Callable[[_Moment], Reply]] = {
    ScriptedAnswer.TEXT: lambda _: Reply(blocks=(words("Yes."),)),
    ScriptedAnswer.CALL: lambda _: Reply(blocks=(_CALL,), stop_reason="tool_use"),
    ScriptedAnswer.SCHEMA: lambda _: Reply(blocks=(_FORM,), stop_reason="tool_use"),
    ScriptedAnswer.MAX_TOKENS: lambda moment: Reply(
        blocks=(_SOME,), stop_reason="max_tokens", hold_after=3, held=moment()
    ),
    ScriptedAnswer.REFUSAL: lambda moment: Reply(
        blocks=(_SOME,), stop_reason="refusal", hold_after=3, held=moment()
    ),
    ScriptedAnswer.EMPTY: lambda moment: Reply(hold_after=0, held=moment()),
    ScriptedAnswer.HELD: lambda _: Reply(
        blocks=(_SOME,), hold_after=1, held=Deferred()
    ),
    ScriptedAnswer.OVERLOADED: lambda _: Reply(
        status=_HTTP_OVERLOADED,
        error=("overloaded_error", "Overloaded"),
        headers={"retry-after": "0"},
    ),
    ScriptedAnswer.TOO_LONG: lambda _: Reply(
        status=_HTTP_BAD, error=("invalid_request_error", TOO_LONG_MESSAGE)
    ),
}
