"""Whether the CLI can be had, answers, and as whom; started as the server would."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError

from ccproxy.claude.deadlines import Limits
from ccproxy.claude.models import Catalogue
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.surroundings import Surroundings
from ccproxy.claude.process.launch import check_version, locate_claude, read_version
from ccproxy.claude.protocol.codec import WireError
from ccproxy.claude.protocol.records import Account, InitializeAnswer
from ccproxy.conversation import Message, Prompt, Role, TextBlock
from ccproxy.doctor.verdict import Level, Verdict
from ccproxy.errors import CCProxyError, ClaudeUnavailable
from ccproxy.events import Event, Failed, Finished, MessageStarted, TextDelta
from ccproxy.premises import Premises
from ccproxy.settings import Settings

# A CLI is there within half a second; who waits longer than this has found out.
_PATIENCE_SECONDS = 30.0
_QUESTION = "Reply with the one word: ready"
_SHOWN_LETTERS = 40


def examine_binary(settings: Settings, environment: Mapping[str, str]) -> Verdict:
    """Which CLI there is, and whether it is new enough. Blocks for 10 ms."""
    try:
        found = locate_claude(settings.claude_bin, environment.get("PATH"))
        version = read_version(found.binary)
        check_version(version)
    except ClaudeUnavailable as error:
        return Verdict(Level.WRONG, "claude", error.message)
    return Verdict(
        Level.OK, "claude", f"{found.binary}, found {found.place}, is {version}"
    )


def skipped_session(*, asks: bool) -> Sequence[Verdict]:
    """What to say where there is no CLI to start."""
    names = ("session", "login", "model", *(("answer",) if asks else ()))
    return [Verdict(Level.SKIPPED, name, "there is no CLI to ask") for name in names]


class CLI:
    """One look at the CLI, within premises that are open."""

    def __init__(self, settings: Settings, premises: Premises, reactor: Any) -> None:
        self._clock = reactor
        self._premises = premises
        self._patience_seconds = min(settings.first_token_seconds, _PATIENCE_SECONDS)
        self._default = settings.model
        self._catalogue = Catalogue(
            settings.model, settings.model_map, int(time.time())
        )
        self._surroundings = Surroundings(
            spawner=reactor,
            clock=reactor,
            wall_seconds=time.time,
            limits=Limits(
                first_token_seconds=settings.first_token_seconds,
                silence_seconds=settings.silence_seconds,
                turn_seconds=settings.turn_seconds,
            ),
            unheard=lambda error: None,
            learned=lambda answer: self._catalogue.learn(answer.models),
            full_id=self._catalogue.full_id,
        )

    async def examine(self, *, asks: bool) -> AsyncIterator[Verdict]:
        """Start it and see whose it is; with ``asks``, put a real question."""
        begun_seconds = self._clock.seconds()
        try:
            answer, seconds = await self._open(begun_seconds)
        except (CCProxyError, WireError) as error:
            yield Verdict(Level.WRONG, "session", str(error))
            for verdict in skipped_session(asks=asks)[1:]:
                yield verdict
            return
        message = f"started and initialized in {seconds:.2f} s"
        yield Verdict(Level.OK, "session", message, seconds=seconds)
        yield self._login(answer)
        yield self._model(answer)
        if asks:
            yield await self._ask()

    async def _open(self, begun_seconds: float) -> tuple[InitializeAnswer, float]:
        session = Session(self._premises.launch(), self._surroundings)
        try:
            opened = Deferred.fromCoroutine(session.open())
            opened.addTimeout(self._patience_seconds, self._clock)
            answer = await opened
            return answer, self._clock.seconds() - begun_seconds
        except DeferredTimeoutError:
            raise ClaudeUnavailable(
                f"the claude CLI started, but said nothing for "
                f"{self._patience_seconds:g} s; does it run by hand?"
            ) from None
        finally:
            await session.close()

    def _login(self, answer: InitializeAnswer) -> Verdict:
        account = answer.account or Account()
        if not account.is_logged_in:
            binary = self._premises.launch().binary
            return Verdict(
                Level.WRONG,
                "login",
                "the claude CLI says that it is not logged in",
                f"run `{binary}` and log in, or set ANTHROPIC_API_KEY",
            )
        if account.source is None:
            return Verdict(
                Level.NOTE,
                "login",
                "the claude CLI does not say whose it is",
                "try it with `ccproxy doctor --ask`",
            )
        about = [f"{account.source}, says the claude CLI"]
        about += [text for text in (account.subscription_type, account.email) if text]
        return Verdict(Level.OK, "login", ", ".join(about))

    def _model(self, answer: InitializeAnswer) -> Verdict:
        name = self._default
        if not answer.models:
            return Verdict(Level.SKIPPED, "model", "the claude CLI names no models")
        resolved = self._catalogue.resolve(None)
        known = {m.value for m in answer.models}
        known |= {m.resolved_model for m in answer.models if m.resolved_model}
        if resolved not in known:
            message = f"{name} is not in the claude CLI's catalogue"
            remedy = "see --model, or try it with `ccproxy doctor --ask`"
            return Verdict(Level.NOTE, "model", message, remedy)
        full = self._catalogue.full_id(resolved)
        return Verdict(Level.OK, "model", f"{name} is {full}")

    async def _ask(self) -> Verdict:
        message = Message(role=Role.USER, content=(TextBlock(text=_QUESTION),))
        prompt = Prompt(model=self._catalogue.resolve(None), messages=(message,))
        try:
            session = Session(self._premises.launch(), self._surroundings)
        except CCProxyError as error:
            return Verdict(Level.WRONG, "answer", error.message)
        listener = _Listener(self._clock, self._clock.seconds())
        try:
            session.ask(prompt, listener)
            end = await listener.over
        finally:
            await session.close()
        if isinstance(end, Failed):
            return Verdict(Level.WRONG, "answer", end.error.message)
        return listener.verdict(end)


@define(eq=False)
class _Listener:
    """Takes the answer, and how long it took."""

    _clock: Any
    _asked_seconds: float
    over: "Deferred[Finished | Failed]" = field(factory=Deferred)
    _model: str = ""
    _text: str = ""
    _first_seconds: float | None = None
    _whole_seconds: float = 0.0

    def receive(self, events: Sequence[Event]) -> None:
        for event in events:
            seconds: float = self._clock.seconds() - self._asked_seconds
            match event:
                case MessageStarted(model=model):
                    self._model = model
                case TextDelta(text=text):
                    if self._first_seconds is None:
                        self._first_seconds = seconds
                    self._text += text
                case Finished() | Failed():
                    self._whole_seconds = seconds
                    self.over.callback(event)

    def verdict(self, end: Finished) -> Verdict:
        """What to say of a whole answer."""
        usage, whole = end.usage, self._whole_seconds
        read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        first = whole if self._first_seconds is None else self._first_seconds
        message = (
            f"{self._model} answered {self._text[:_SHOWN_LETTERS]!r}: first token "
            f"after {first:.2f} s, whole after {whole:.2f} s, {read} tokens in, "
            f"{usage.output_tokens} out"
        )
        return Verdict(Level.OK, "answer", message, seconds=whole)
