"""A scripted Messages API on loopback: no model, no account, no network.

Behind ``--demo`` it stands in for Anthropic, with the real CLI in front of it, so
that everything but the model is what it will be. The tests' upstream is the same
module under other scripts: what an upstream can do to an answer is in `Reply`.

Source: the Messages API's streaming format; protocol notes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from typing_extensions import override

_WORDS_OF_PROMPT = 12
_DEMO_DELAY_SECONDS = 0.03
_HTTP_OK = 200


@frozen
class Block:
    """A content block in the pieces that it streams in.

    Attributes:
        signature: of a block of thinking.
        tool_use: the id and name of a call, whose arguments' JSON the pieces are.
        redacted: what a block of thinking is that nobody else can read.
    """

    deltas: tuple[str, ...] = ()
    is_thinking: bool = False
    signature: str = "ZGVtbw=="
    tool_use: tuple[str, str] | None = None
    redacted: str | None = None


@frozen(kw_only=True)
class Reply:
    """What the upstream does with one request.

    Attributes:
        status: with another than 200, an error of type ``error`` is all there is.
        cut_after: break the connection after so many deltas.
        overload_after: send an ``overloaded_error`` event after so many deltas.
        hold_after: wait for ``held`` after so many deltas.
    """

    blocks: tuple[Block, ...] = ()
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    usage: Mapping[str, int] = field(
        factory=lambda: {
            "input_tokens": 11,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 2,
        }
    )
    output_tokens: int = 20
    delay_seconds: float = 0.0
    status: int = _HTTP_OK
    error: tuple[str, str] = ("api_error", "")
    headers: Mapping[str, str] = field(factory=dict)
    cut_after: int | None = None
    overload_after: int | None = None
    hold_after: int | None = None
    held: "Deferred[None] | None" = None


Script = Callable[[Mapping[str, Any]], Reply]


class FakeMessagesAPI(Resource):
    """``POST /v1/messages``; answers by a script.

    Attributes:
        bodies: every request body, if it records.
        gone: how many clients hung up before their answer was whole.
    """

    isLeaf = True

    def __init__(
        self, script: Script, clock: IReactorTime, *, record: bool = False
    ) -> None:
        super().__init__()
        self.script = script
        self.bodies: list[Mapping[str, Any]] = []
        self.gone = 0
        self._clock = clock
        self._record = record
        self._numbers = count(1)

    @override
    def render(self, request: Request) -> object:
        if request.method != b"POST" or request.path != b"/v1/messages":
            request.setHeader("content-type", "application/json")
            return b"{}"
        body = json.loads(_read(request))
        if self._record:
            self.bodies.append(body)
        exchange = _Exchange(request, body, next(self._numbers), self._clock)
        request.notifyFinish().addErrback(self._hung_up, exchange)
        Deferred.fromCoroutine(exchange.answer(self.script(body))).addErrback(
            exchange.failed
        )
        return NOT_DONE_YET

    def _hung_up(self, _: object, exchange: "_Exchange") -> None:
        self.gone += 1
        exchange.is_gone = True


def _read(request: Request) -> bytes:
    content: Any = request.content
    body: bytes = content.read()
    return body


class _Exchange:
    def __init__(
        self,
        request: Request,
        body: Mapping[str, Any],
        number: int,
        clock: IReactorTime,
    ) -> None:
        self._request: Any = request
        self._body = body
        self._number = number
        self._clock = clock
        self._deltas = 0
        self.is_gone = False

    async def answer(self, reply: Reply) -> None:
        self._request.setResponseCode(reply.status)
        for name, value in reply.headers.items():
            self._request.setHeader(name, value)
        if reply.status != _HTTP_OK:
            kind, message = reply.error
            self._json({"type": "error", "error": {"type": kind, "message": message}})
        elif self._body.get("stream"):
            self._request.setHeader("content-type", "text/event-stream")
            if await self._stream(reply) and not self.is_gone:
                self._request.finish()
        else:
            content = [_block(b, "".join(b.deltas)) for b in reply.blocks]
            self._json(
                {
                    **self._message(reply),
                    "content": content,
                    "stop_reason": reply.stop_reason,
                    "stop_sequence": reply.stop_sequence,
                    "usage": {**reply.usage, "output_tokens": reply.output_tokens},
                }
            )

    def failed(self, failure: Any) -> None:
        if not self.is_gone:
            self._request.processingFailed(failure)

    async def _stream(self, reply: Reply) -> bool:
        self._event("message_start", message=self._message(reply))
        for index, block in enumerate(reply.blocks):
            self._event(
                "content_block_start", index=index, content_block=_block(block, "")
            )
            for text in block.deltas:
                delta = _delta(block, text)
                self._event("content_block_delta", index=index, delta=delta)
                self._deltas += 1
                if not await self._goes_on(reply):
                    return False
            if block.is_thinking:
                signed = {"type": "signature_delta", "signature": block.signature}
                self._event("content_block_delta", index=index, delta=signed)
            self._event("content_block_stop", index=index)
        stop = {"stop_reason": reply.stop_reason, "stop_sequence": reply.stop_sequence}
        self._event(
            "message_delta", delta=stop, usage={"output_tokens": reply.output_tokens}
        )
        self._event("message_stop")
        return True

    async def _goes_on(self, reply: Reply) -> bool:
        if reply.delay_seconds:
            await deferLater(self._clock, reply.delay_seconds)
        if self._deltas == reply.hold_after and reply.held is not None:
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
        }

    def _event(self, kind: str, **data: object) -> None:
        if not self.is_gone:
            text = json.dumps({"type": kind, **data})
            self._request.write(f"event: {kind}\ndata: {text}\n\n".encode())

    def _json(self, document: Mapping[str, object]) -> None:
        self._request.setHeader("content-type", "application/json")
        self._request.write(json.dumps(document).encode())
        self._request.finish()


def _delta(block: Block, text: str) -> dict[str, str]:
    if block.is_thinking:
        return {"type": "thinking_delta", "thinking": text}
    if block.tool_use is not None:
        return {"type": "input_json_delta", "partial_json": text}
    return {"type": "text_delta", "text": text}


def _block(block: Block, text: str) -> dict[str, Any]:
    if block.is_thinking:
        # A stream's signature comes after the text.
        signature = block.signature if text or not block.deltas else ""
        return {"type": "thinking", "thinking": text, "signature": signature}
    if block.redacted is not None:
        return {"type": "redacted_thinking", "data": block.redacted}
    if block.tool_use is not None:
        identifier, name = block.tool_use
        about = {"type": "tool_use", "id": identifier, "name": name}
        return {**about, "input": json.loads(text or "{}")}
    return {"type": "text", "text": text}


class MessagesSite(Site):
    """The server for a `FakeMessagesAPI`; prints nothing."""

    noisy = False

    def __init__(self, api: FakeMessagesAPI, clock: IReactorTime) -> None:
        # Without a limit: the CLI keeps its connections, and each end would be logged.
        super().__init__(
            api, parsePOSTFormSubmission=False, timeout=None, reactor=clock
        )

    @override
    def log(self, request: object) -> None:
        """Write no access log."""


def words(text: str) -> Block:
    """A text block that streams word by word, blanks included."""
    first, *rest = text.split(" ")
    return Block((first, *(f" {word}" for word in rest)))


def demo_script(body: Mapping[str, Any]) -> Reply:
    """What ``--demo`` answers: that it is a demo, and what it was asked."""
    turns = [m for m in body["messages"] if m["role"] == "user"]
    asked = _text(turns[-1]["content"]).split()
    quote = " ".join(asked[:_WORDS_OF_PROMPT])
    if len(asked) > _WORDS_OF_PROMPT:
        quote += " …"
    answer = (
        "Hello! This is the ccproxy demo: a script answers, not a model. But your "
        "request went the whole way, through the proxy and the real Claude Code CLI, "
        f"and so does this answer, token by token. You asked {body['model']}, in turn "
        f"{len(turns)} of this conversation: “{quote}” Without --demo, with a "
        "logged-in `claude`, the model itself answers."
    )
    text, stop = _until(answer, body.get("stop_sequences") or ())
    pieces = words(text).deltas
    told = pieces[: body.get("max_tokens")]
    is_cut = len(told) < len(pieces)
    reason = "end_turn" if stop is None else "stop_sequence"
    return Reply(
        blocks=(Block(told),),
        stop_reason="max_tokens" if is_cut else reason,
        stop_sequence=None if is_cut else stop,
        output_tokens=len(told),
        usage={"input_tokens": len(json.dumps(turns)) // 4 + 1},
        delay_seconds=_DEMO_DELAY_SECONDS,
    )


def _until(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The text up to the first of the sequences, and which one that is."""
    found = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    place, stop = min(found)
    return text[:place], stop


def _text(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(block.get("text", "") for block in content)
