"""The Messages API of the tests: scripted, recording, and as strict as the provider."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from typing_extensions import override

from ccproxy.server.fake_upstream import (
    FakeMessagesAPI,
    MessagesSite,
    RecordedRequest,
    quarter,
)
from ccproxy.server.scripted_reply import Reply, Script, words
from tests.support.provider_rules import Issued, violations
from tests.support.provider_thinking import Signature, read_signature, sign
from tests.support.provider_violation import Violation

# A connection is taken in one turn of the reactor; a request is read in a few.
_TURNS = 10


def answer(text: str = "one two three", **options: Any) -> Reply:
    """A reply of one text block."""
    return Reply(blocks=(words(text),), **options)


class RefusingAPI(FakeMessagesAPI):
    """A scripted Messages API with the provider's rules.

    It closes each connection after the answer, so that none outlives a test.

    Attributes:
        strict: whether it refuses anything.
        prefix_mismatch: what becomes of thinking behind another prefix than the one
            it was made behind: ``error``, or ``drop``, as for older accounts.
        violations: all that the requests until now were refused for.
    """

    def __init__(self, reactor: Any, *, strict: bool) -> None:
        super().__init__(lambda _: answer(), reactor, record=True)
        self.strict = strict
        self.prefix_mismatch: Literal["error", "drop"] = "error"
        self.violations: list[Violation] = []
        self._issued: dict[str, set[Signature]] = {}

    @override
    def render(self, request: Any) -> object:
        request.channel.persistent = False
        request.setHeader("connection", "close")
        return super().render(request)

    @override
    def reply_to(self, request: RecordedRequest) -> Reply:
        if self.strict:
            found = violations(
                request.body,
                betas=request.betas,
                size=int(request.headers.get("content-length", 0)),
                issued=Issued(signatures=self._issued),
                prefix_check=self.prefix_mismatch == "error",
            )
            self.violations.extend(found)
            if found:
                return refusal(found[0])
        reply = super().reply_to(request)
        self._note(request.body, reply)
        return reply

    @override
    def sign(self, body: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
        return sign(body, before) if self.strict else super().sign(body, before)

    def _note(self, body: Mapping[str, Any], reply: Reply) -> None:
        """Record the signatures and redacted blocks of a script."""
        before: list[Mapping[str, Any]] = []
        for block in reply.blocks:
            document = block.document(block.signature or sign(body, before))
            text = document.get("signature") or document.get("data")
            made = read_signature(sign(body, before))
            if isinstance(text, str) and made is not None:
                self._issued.setdefault(text, set()).add(made)
            before.append(document)


def refusal(violation: Violation) -> Reply:
    """The provider's error for a request that breaks a rule."""
    too_large = violation.status == 413
    kind = "request_too_large" if too_large else "invalid_request_error"
    return Reply(status=violation.status, error=(kind, violation.message))


@define(eq=False)
class Upstream:
    """The recording Messages API; set `script` to choose its answers."""

    api: RefusingAPI
    port: Any
    is_strict: bool

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}"

    @property
    def bodies(self) -> list[Mapping[str, Any]]:
        """The bodies of all questions."""
        return self.api.bodies

    @property
    def requests(self) -> list[RecordedRequest]:
        """All questions, with path and headers."""
        return self.api.requests

    @property
    def counts(self) -> list[RecordedRequest]:
        """The requests for ``count_tokens``."""
        return self.api.counts

    @property
    def violations(self) -> list[Violation]:
        """The violations in requests, if it is strict."""
        return self.api.violations

    def reset(self) -> None:
        """Reset script and records."""
        api = self.api
        for record in (api.bodies, api.requests, api.counts, api.others):
            record.clear()
        api.violations.clear()
        api.gone = 0
        api.count_tokens = quarter
        api.script = lambda _: answer()
        api.strict = self.is_strict
        api.prefix_mismatch = "error"

    def script(self, script: Script | Reply) -> None:
        self.api.script = script if callable(script) else lambda _: script

    def replies(self, *replies: Reply) -> None:
        """Answer with these replies in turn, then always with the last."""
        left = list(replies)
        self.api.script = lambda _: left.pop(0) if len(left) > 1 else left[0]

    async def caught_up(self) -> None:
        """Wait until requests of disconnected clients are read."""
        for _ in range(_TURNS):
            await deferLater(reactor, 0)

    async def stop(self) -> None:
        await maybeDeferred(self.port.stopListening)


def start_upstream(reactor: Any, *, strict: bool = True) -> Upstream:
    """Start a Messages API; a strict one refuses what the provider refuses."""
    api = RefusingAPI(reactor, strict=strict)
    port = reactor.listenTCP(0, MessagesSite(api, reactor), interface="127.0.0.1")
    return Upstream(api, port, strict)


def spoken(body: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The turns of a body: role and texts, without the CLI's own notes."""
    turns = []
    for message in body["messages"]:
        if message["role"] != "system":
            content = message["content"]
            blocks = [{"text": content}] if isinstance(content, str) else content
            turns.append((message["role"], [block["text"] for block in blocks]))
    return turns


def system(body: Mapping[str, Any]) -> list[str]:
    """The system blocks of a body, without the CLI's own two."""
    return [block["text"] for block in body["system"][2:]]
