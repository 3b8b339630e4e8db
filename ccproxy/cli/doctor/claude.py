"""Checks of the Claude Code CLI: installation, start, login, model, answer."""

import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError

from ccproxy.claude.body.compose import composing, run
from ccproxy.claude.installation.compose_mode import (
    BinaryVerdict,
    ComposeMode,
    body_limit,
    decide_compose_mode,
)
from ccproxy.claude.installation.contract import Reaction
from ccproxy.claude.installation.probe import CLIProber
from ccproxy.claude.models import Catalogue
from ccproxy.claude.process.binary import check_version, locate_claude, read_version
from ccproxy.claude.process.launch import ERROR_LOG, LaunchSpec
from ccproxy.claude.protocol.records import Account, InitializeAnswer
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker
from ccproxy.cli.doctor.mcp import examine_servers
from ccproxy.cli.doctor.results import CheckResult, CheckStatus
from ccproxy.config.settings import Settings
from ccproxy.core.errors import CCProxyError, ClaudeFailed, ClaudeUnavailable
from ccproxy.core.messages import Message, MessagesRequest
from ccproxy.core.stream import Event, Failed, Finished, MessageStart, TextDelta
from ccproxy.server.runtime import Runtime

# The time limit for the CLI's start, which usually takes half a second.
_ANSWER_SECONDS = 30.0
_MARGIN_SECONDS = 1.0
_QUESTION = "Reply with the one word: ready"
_SHOWN_LETTERS = 40


def examine_binary(settings: Settings, environment: Mapping[str, str]) -> CheckResult:
    """Check that a CLI is installed, and new enough. Blocks for 10 ms."""
    try:
        found = locate_claude(settings.claude_bin, environment.get("PATH"))
        version = read_version(found.binary)
        check_version(version)
    except ClaudeUnavailable as error:
        return CheckResult(CheckStatus.WRONG, "claude", error.message)
    return CheckResult(
        CheckStatus.OK, "claude", f"{found.binary}, found {found.place}, is {version}"
    )


def skipped_session(*, asks: bool) -> Sequence[CheckResult]:
    """The results of the checks of a CLI process if no process can be started."""
    names = ("session", "login", "model", "composer", *(("answer",) if asks else ()))
    return [
        CheckResult(CheckStatus.SKIPPED, name, "there is no CLI to check")
        for name in names
    ]


def login_remedy(binary: Path, environment: Mapping[str, str], platform: str) -> str:
    """What the operator can do if the CLI has no login.

    Args:
        binary: the CLI's path.
        environment: the variables of this process.
        platform: `sys.platform`.
    """
    # Programs find a graphical session by these variables; macOS has none.
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    if platform == "darwin" or any(environment.get(name) for name in displays):
        return f"run `{binary}` and log in, or set ANTHROPIC_API_KEY"
    return (
        f"no browser can be opened here: run `{binary.name} setup-token` on a machine "
        "with a browser, and set CLAUDE_CODE_OAUTH_TOKEN here to the token that it "
        f"prints; or run `{binary}` in a terminal here, and open the printed address "
        "in a browser on another machine; or set ANTHROPIC_API_KEY"
    )


class CLI:
    """Checks a CLI process that is started as the server starts it.

    Args:
        settings: the server's settings.
        runtime: must be open.
        reactor: starts processes, and is the clock.
        environment: tells whether there is a browser for the login.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        reactor: Any,
        environment: Mapping[str, str],
    ) -> None:
        self._clock = reactor
        self._environment = environment
        self._settings = settings
        self._runtime = runtime
        self._patience_seconds = min(settings.first_token_timeout, _ANSWER_SECONDS)
        self._default = settings.model
        self._has_error_log = True
        self._catalogue = Catalogue(
            settings.model, settings.model_map, int(time.time())
        )
        self._context = CLIContext(
            spawner=reactor,
            clock=reactor,
            wall_seconds=time.time,
            limits=settings,
            on_initialized=lambda answer, _: self._catalogue.learn(answer.models),
            full_id=self._catalogue.full_id,
        )

    async def examine(self, *, asks: bool) -> AsyncIterator[CheckResult]:
        """Start the CLI and check its login; with ``asks``, send a real request."""
        begun_seconds = self._clock.seconds()
        try:
            answer, seconds = await self._open(begun_seconds)
        except CCProxyError as error:
            yield CheckResult(CheckStatus.WRONG, "session", str(error))
            for result in skipped_session(asks=asks)[1:]:
                yield result
            return
        message = f"started and initialized in {seconds:.2f} s"
        yield CheckResult(CheckStatus.OK, "session", message, seconds=seconds)
        yield self._login(answer)
        yield self._model(answer)
        yield await self._composer(answer)
        native = evolve(self._runtime.native(), has_error_log=self._has_error_log)
        async for result in examine_servers(native, self._context):
            yield result
        if asks:
            yield await self._ask()

    def _launch(self) -> LaunchSpec:
        return evolve(self._runtime.worker(), has_error_log=self._has_error_log)

    async def _open(self, begun_seconds: float) -> tuple[InitializeAnswer, float]:
        # Longer than this check's own timeout, whose error message is clearer.
        patience = self._patience_seconds + _MARGIN_SECONDS
        limits = evolve(self._context.limits, first_token_timeout=patience)
        context = evolve(self._context, limits=limits)
        worker = Worker(self._launch(), context)
        try:
            opened = Deferred.fromCoroutine(worker.open())
            opened.addTimeout(self._patience_seconds, self._clock)
            answer = await opened
            return answer, self._clock.seconds() - begun_seconds
        except ClaudeFailed as error:
            if not (self._has_error_log and ERROR_LOG in error.message):
                raise
            self._has_error_log = False
            return await self._open(begun_seconds)
        except DeferredTimeoutError:
            raise ClaudeUnavailable(
                f"the claude CLI started, but did not answer within "
                f"{self._patience_seconds:g} s; check that it works in a terminal"
            ) from None
        finally:
            await worker.close()

    def _login(self, answer: InitializeAnswer) -> CheckResult:
        account = answer.account or Account()
        if not account.is_logged_in:
            binary = self._runtime.worker().binary
            return CheckResult(
                CheckStatus.WRONG,
                "login",
                "the claude CLI reports that it is not logged in",
                login_remedy(binary, self._environment, sys.platform),
            )
        if account.source is None:
            return CheckResult(
                CheckStatus.NOTE,
                "login",
                "the claude CLI does not report its login",
                "try it with `ccproxy doctor --ask`",
            )
        about = [f"{account.source}, as the claude CLI reports"]
        about += [text for text in (account.subscription_type, account.email) if text]
        return CheckResult(CheckStatus.OK, "login", ", ".join(about))

    def _model(self, answer: InitializeAnswer) -> CheckResult:
        name = self._default
        if not answer.models:
            return CheckResult(
                CheckStatus.SKIPPED, "model", "the claude CLI lists no models"
            )
        resolved = self._catalogue.resolve(None)
        known = {m.value for m in answer.models}
        known |= {m.resolved_model for m in answer.models if m.resolved_model}
        if resolved not in known:
            message = f"{name} is not a model that the claude CLI lists"
            listed = ", ".join(self._catalogue.listed())
            remedy = f"it lists {listed}; try {name} with `ccproxy doctor --ask`"
            return CheckResult(CheckStatus.NOTE, "model", message, remedy)
        full = self._catalogue.full_id(resolved)
        return CheckResult(CheckStatus.OK, "model", f"{name} is {full}")

    async def _composer(self, answer: InitializeAnswer) -> CheckResult:
        """The mode in which requests are sent, and the reason."""
        mode = ComposeMode(self._settings.compose)
        has_agent_tools = bool(self._settings.agent_tools)
        verdict, why = BinaryVerdict.MERGES, ""
        if mode is ComposeMode.AUTO and not has_agent_tools:
            verdict, why = await self._probe()
            if verdict is BinaryVerdict.UNUSABLE:
                message = f"the claude CLI is not safe to use: {why}"
                return CheckResult(CheckStatus.WRONG, "composer", message)
        way = decide_compose_mode(
            mode,
            has_agent_tools=has_agent_tools,
            verdict=verdict,
            why=why,
            limit=body_limit(answer.account, self._runtime.environment, sys.platform),
        )
        if way.is_native:
            message = f"native mode, one process per request: {way.why}"
            chosen = has_agent_tools or mode is ComposeMode.NATIVE
            return CheckResult(
                CheckStatus.OK if chosen else CheckStatus.NOTE, "composer", message
            )
        if way.largest_bytes is not None:
            message = (
                "body mode; native mode for bodies of more than "
                f"{way.largest_bytes} bytes: {way.why}"
            )
            return CheckResult(CheckStatus.NOTE, "composer", message)
        return CheckResult(
            CheckStatus.OK, "composer", "body mode: ccproxy composes each request"
        )

    async def _probe(self) -> tuple[BinaryVerdict, str]:
        runtime = self._runtime
        prober = CLIProber(
            self._context,
            runtime.probe_upstream,
            runtime.isolated,
            sends_questions=True,
        )
        try:
            result = await prober.probe(runtime.worker(), lambda _: None)
        except CCProxyError as error:
            return BinaryVerdict.FAILED, error.message
        unsafe = result.first(Reaction.REFUSED)
        if unsafe:
            return BinaryVerdict.UNUSABLE, unsafe
        why = result.first(Reaction.NATIVE)
        return BinaryVerdict.DIFFERS if why else BinaryVerdict.MERGES, why

    async def _ask(self) -> CheckResult:
        model = self._catalogue.resolve(None)
        request = MessagesRequest(messages=(Message("user", _QUESTION),))
        composed = run(
            composing(request, model=model, model_id=self._catalogue.full_id(model))
        )
        try:
            worker = Worker(self._launch(), self._context)
        except CCProxyError as error:
            return CheckResult(CheckStatus.WRONG, "answer", error.message)
        listener = _Listener(self._clock, self._clock.seconds())
        try:
            worker.ask(composed.body, listener)
            end = await listener.over
        finally:
            await worker.close()
        if isinstance(end, Failed):
            return CheckResult(CheckStatus.WRONG, "answer", end.error.message)
        return listener.result(end)


@define(eq=False)
class _Listener:
    """Collects the text of an answer, and measures its times."""

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
                case MessageStart(model=model):
                    self._model = model
                case TextDelta(text=text):
                    if self._first_seconds is None:
                        self._first_seconds = seconds
                    self._text += text
                case Finished() | Failed():
                    self._whole_seconds = seconds
                    self.over.callback(event)

    def result(self, end: Finished) -> CheckResult:
        """The check's result for a complete answer."""
        usage, whole = end.usage, self._whole_seconds
        first = whole if self._first_seconds is None else self._first_seconds
        message = (
            f"{self._model} answered {self._text[:_SHOWN_LETTERS]!r}: first token "
            f"after {first:.2f} s, whole after {whole:.2f} s, {usage.prompt_tokens} "
            f"tokens in, {usage.output_tokens} out"
        )
        return CheckResult(CheckStatus.OK, "answer", message, seconds=whole)
