"""A scripted Messages API on loopback, which needs no model, account or network.

With ``--demo``, the real CLI uses this API in place of Anthropic's. The tests use it
with other scripts. A script makes a `Reply` for each request.

Source: the Messages API's streaming format; docs/claude-cli-protocol.md, "Ends".
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from typing_extensions import override

from ccproxy.server.scripted_reply import HTTP_OK, Reply, Script, ScriptedBlock

_SIGNATURE = "ZGVtbw=="
_NOT_FOUND = 404
_CREATE, _COUNT = "POST /v1/messages", "POST /v1/messages/count_tokens"


@frozen
class RecordedRequest:
    """A request that the API received.

    Attributes:
        path: the path, without the query.
        headers: the headers; the names are in lower case.
    """

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def betas(self) -> frozenset[str]:
        """The names in the ``anthropic-beta`` header."""
        named = self.headers.get("anthropic-beta", "").split(",")
        return frozenset(name.strip() for name in named if name.strip())


def quarter(body: Mapping[str, Any]) -> int:
    """The default count of tokens: a quarter of the characters of the messages."""
    return len(json.dumps(body["messages"])) // 4 + 1


class FakeMessagesAPI(Resource):
    """Serves ``POST /v1/messages`` and ``POST /v1/messages/count_tokens`` by script.

    Args:
        script: makes the reply to the body of a request.
        clock: schedules delays.
        record: whether requests are recorded; otherwise the lists stay empty.

    Attributes:
        count_tokens: computes the response of ``count_tokens`` from the body; None:
            the request is refused.
        bodies: the bodies of the requests for messages.
        requests: the requests for messages.
        counts: the requests for ``count_tokens``.
        others: method and path of all other requests.
        gone: the number of clients that disconnected before the end of their response.
    """

    isLeaf = True

    def __init__(
        self, script: Script, clock: IReactorTime, *, record: bool = False
    ) -> None:
        super().__init__()
        self.script = script
        self.count_tokens: Callable[[Mapping[str, Any]], int | None] = quarter
        self.bodies: list[Mapping[str, Any]] = []
        self.requests: list[RecordedRequest] = []
        self.counts: list[RecordedRequest] = []
        self.others: list[str] = []
        self.gone = 0
        self._clock = clock
        self._record = record
        self._messages = count(1)
        self._identifiers = count(1)

    @override
    def render(self, request: Request) -> object:
        request.setHeader("request-id", f"req_{next(self._identifiers)}")
        request.setHeader("content-type", "application/json")
        endpoint = f"{request.method.decode()} {_path(request)}"
        if endpoint not in (_CREATE, _COUNT):
            if self._record:
                self.others.append(endpoint)
            return b"" if request.method == b"HEAD" else b"{}"
        recorded = _read(request)
        if endpoint == _COUNT:
            if self._record:
                self.counts.append(recorded)
            return self._count(request, recorded.body)
        if self._record:
            self.requests.append(recorded)
            self.bodies.append(recorded.body)
        number, body = next(self._messages), recorded.body
        context = _Exchange(request, body, number, self._clock, self.sign)
        request.notifyFinish().addErrback(self._disconnected, context)
        answering = Deferred.fromCoroutine(context.answer(self.reply_to(recorded)))
        answering.addErrback(context.failed)
        return NOT_DONE_YET

    def _count(self, request: Request, body: Mapping[str, Any]) -> bytes:
        tokens = self.count_tokens(body)
        if tokens is not None:
            return b'{"input_tokens": %d}' % tokens
        request.setResponseCode(_NOT_FOUND)
        error = {"type": "not_found_error", "message": "nothing is counted here"}
        return json.dumps({"type": "error", "error": error}).encode()

    def reply_to(self, request: RecordedRequest) -> Reply:
        """The reply to a request; a subclass may refuse the request."""
        return self.script(request.body)

    def sign(self, body: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
        """Sign a thinking block whose script gives no signature.

        Args:
            body: the body of the request.
            before: the blocks before it.
        """
        return _SIGNATURE

    def _disconnected(self, _: object, context: "_Exchange") -> None:
        self.gone += 1
        context.is_gone = True


def _read(request: Request) -> RecordedRequest:
    content: Any = request.content
    headers = {
        name.decode().lower(): b", ".join(values).decode()
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    return RecordedRequest(_path(request), headers, json.loads(content.read()))


def _path(request: Request) -> str:
    """The path below the place where the API is mounted."""
    return "/" + b"/".join(request.postpath or ()).decode()


class _Exchange:
    def __init__(
        self,
        request: Request,
        body: Mapping[str, Any],
        number: int,
        clock: IReactorTime,
        sign: Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], str],
    ) -> None:
        self._request: Any = request
        self._body = body
        self._number = number
        self._clock = clock
        self._sign = sign
        self._deltas = 0
        self.is_gone = False

    async def answer(self, reply: Reply) -> None:
        if reply.before is not None:
            await reply.before
        if self.is_gone:
            return
        self._request.setResponseCode(reply.status)
        for name, value in reply.headers.items():
            self._request.setHeader(name, value)
        if reply.status != HTTP_OK:
            kind, message = reply.error
            self._json({"type": "error", "error": {"type": kind, "message": message}})
        elif self._body.get("stream"):
            self._request.setHeader("content-type", "text/event-stream")
            if await self._stream(reply) and not self.is_gone:
                self._request.finish()
        else:
            self._json(
                {
                    **self._message(reply),
                    "content": [document for _, _, document in self._signed(reply)],
                    **reply.stop(),
                    **reply.final_fields,
                    "usage": {
                        **reply.usage,
                        **reply.final_usage,
                        "output_tokens": reply.output_tokens,
                    },
                }
            )

    def failed(self, failure: Any) -> None:
        if not self.is_gone:
            self._request.processingFailed(failure)

    def _signed(self, reply: Reply) -> list[tuple[ScriptedBlock, str, dict[str, Any]]]:
        """Each block with its signature and its form in a finished message."""
        found: list[tuple[ScriptedBlock, str, dict[str, Any]]] = []
        for block in reply.blocks:
            signature = block.signature or ""
            if block.is_thinking and block.signature is None:
                signature = self._sign(self._body, [done for _, _, done in found])
            found.append((block, signature, block.document(signature)))
        return found

    async def _stream(self, reply: Reply) -> bool:
        self._event("message_start", message=self._message(reply))
        if not await self._goes_on(reply):
            return False
        for index, (block, signature, _) in enumerate(self._signed(reply)):
            self._event("content_block_start", index=index, content_block=block.start())
            for delta in block.stream(signature):
                self._event("content_block_delta", index=index, delta=delta)
                if delta["type"] == "signature_delta":
                    continue
                self._deltas += 1
                if not await self._goes_on(reply):
                    return False
            self._event("content_block_stop", index=index)
        usage = {**reply.final_usage, "output_tokens": reply.output_tokens}
        about = {"delta": reply.stop(), "usage": usage, **reply.final_fields}
        self._event("message_delta", **about)
        if reply.stop_delay_seconds:
            await deferLater(self._clock, reply.stop_delay_seconds)
        self._event("message_stop")
        return True

    async def _goes_on(self, reply: Reply) -> bool:
        if reply.pings:
            self._event("ping")
        for place, event in reply.raw_events:
            if place == self._deltas:
                self._event(
                    event["type"], **{k: event[k] for k in event if k != "type"}
                )
        if self._deltas and reply.delay_seconds:
            await deferLater(self._clock, reply.delay_seconds)
        if self._deltas == reply.hold_after and reply.held is not None:
            while reply.pings and not reply.held.called and not self.is_gone:
                await deferLater(self._clock, 1)
                self._event("ping")
            await reply.held
        if self._deltas == reply.overload_after:
            error = {"type": "overloaded_error", "message": "Overloaded"}
            self._event("error", error=error)
            if not self.is_gone:
                self._request.finish()
            return False
        if self._deltas == reply.cut_after:
            if not self.is_gone:
                self._request.transport.loseConnection()
            return False
        return not self.is_gone

    def _message(self, reply: Reply) -> dict[str, Any]:
        return {
            "id": f"msg_{self._number}",
            "type": "message",
            "role": "assistant",
            "model": self._body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**reply.usage, "output_tokens": 1},
            **reply.message,
        }

    def _event(self, kind: str, **data: object) -> None:
        if not self.is_gone:
            text = json.dumps({"type": kind, **data})
            self._request.write(f"event: {kind}\ndata: {text}\n\n".encode())

    def _json(self, document: Mapping[str, object]) -> None:
        self._request.setHeader("content-type", "application/json")
        self._request.write(json.dumps(document).encode())
        self._request.finish()


class MessagesSite(Site):
    """The server for a resource with a `FakeMessagesAPI`; logs nothing."""

    noisy = False

    def __init__(self, api: Resource, clock: IReactorTime) -> None:
        # No timeout: the CLI keeps connections open, and Twisted logs each timeout.
        super().__init__(
            api, parsePOSTFormSubmission=False, timeout=None, reactor=clock
        )

    @override
    def log(self, request: object) -> None:
        """Write no access log."""
