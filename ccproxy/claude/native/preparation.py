"""What is said to a CLI until it answers: set-up, history, question.

A new CLI is initialized; that fixes the `Foundation` for good. One that has answered
before is rewound first, as far as its conversation is not the question's, and given
the question's tools. Then the settings, which are all named whenever one of them has
changed, and the turns that it does not know yet: each of the user's has to be
acknowledged before the assistant's that follows is written, or that would land in
front of it.

Source: protocol notes, "Input" and "Tools".
"""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from uuid import uuid4

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.python.failure import Failure

from ccproxy.claude.native import demand
from ccproxy.claude.native.structured import understood
from ccproxy.claude.native.surroundings import Surroundings
from ccproxy.claude.native.tools import ToolServer
from ccproxy.claude.native.transcript import Plan, Transcript
from ccproxy.claude.process.launch import check_version
from ccproxy.claude.protocol import codec as wire
from ccproxy.claude.protocol import records, requests
from ccproxy.claude.protocol.control import Controls
from ccproxy.conversation import Prompt, Role
from ccproxy.errors import CCProxyError, ClaudeFailed

# A CLI that is asked again is ready in 10 ms; after this a new one is faster.
_SOON_SECONDS = 2.0

_T = TypeVar("_T")


@frozen
class Foundation:
    """What a CLI is told once and for all.

    Attributes:
        schema: as it is written; empty for none.
        day: the date that the CLI tells the model, in local time.
    """

    system: str
    schema: bytes
    day: str

    @classmethod
    def of(cls, prompt: Prompt | None, surroundings: Surroundings) -> "Foundation":
        """What a question needs; without one, what any with no demands needs."""
        local = time.localtime(surroundings.wall_seconds())
        day = time.strftime("%Y-%m-%d", local)
        if prompt is None:
            return cls("", b"", day)
        system = demand.system_prompt(prompt, native=surroundings.forces_calls)
        schema = b"" if prompt.schema is None else msgspec.json.encode(prompt.schema)
        return cls(system, schema, day)


class Preparation:
    """Everything that one CLI is told beside the results of its calls.

    Args:
        send: writes a line to the CLI.
        lost: told of a setting that the CLI refused while the question was under way.
    """

    def __init__(
        self,
        controls: Controls,
        send: Callable[[bytes], None],
        tools: ToolServer,
        surroundings: Surroundings,
        model: str,
        lost: Callable[[Failure], None],
    ) -> None:
        self._controls = controls
        self._send = send
        self._tools = tools
        self._surroundings = surroundings
        self._lost = lost
        self._model = model
        self._settings: Mapping[str, object] | None = None
        self._reminder_uuid = ""
        self._waiter: Deferred[None] | None = None
        self.transcript = Transcript()
        self.foundation: Foundation | None = None

    async def open(self, prompt: Prompt | None) -> records.InitializeAnswer:
        """Initialize a new CLI with what a prompt says beside its turns, for good.

        Raises:
            CCProxyError: it is too old, died, or refuses.
            WireError: it speaks another language.
        """
        self.foundation = Foundation.of(prompt, self._surroundings)
        request = requests.initialize("")
        if prompt is not None:
            self._tools.offer(prompt.tools)
            schema = None if prompt.schema is None else understood(prompt.schema)
            request = requests.initialize(self.foundation.system, prompt.tools, schema)
        told = await self._controls.ask(request)
        answer = wire.decode_initialize(told.response.response)
        if answer.claude_code_version is not None:
            check_version(answer.claude_code_version)
        self._surroundings.learned(answer)
        return answer

    async def put(self, prompt: Prompt, plan: Plan) -> None:
        """Put a question to a CLI that is open; done when it is written.

        Raises:
            CCProxyError: the CLI refuses something, or is gone.
            WireError: it speaks another language.
        """
        self._tools.forget()
        await self.take_back(plan)
        if not self._tools.offers(prompt.tools):
            await self._offer(prompt)
        self._configure(prompt)
        self.transcript.begin(prompt)
        for number in range(plan.kept, len(prompt.messages)):
            message = prompt.messages[number]
            ask = number == len(prompt.messages) - 1
            uuid = str(uuid4())
            self._send(wire.turn(message, uuid, model=self._model, ask=ask))
            self.transcript.told(message, uuid)
            if message.role is Role.USER and not ask:
                await self._acknowledged()

    def suits(self, prompt: Prompt) -> bool:
        """Whether the CLI was told, once and for all, what a question needs."""
        return self.foundation == Foundation.of(prompt, self._surroundings)

    def remind(self, prompt: Prompt) -> None:
        """Ask for a call once more; taken back with the question."""
        said, self._reminder_uuid = demand.reminder(prompt), str(uuid4())
        self._send(wire.turn(said, self._reminder_uuid, model=self._model, ask=True))

    async def take_back(self, plan: Plan) -> None:
        """Rewind the conversation, and make sure that it is.

        Raises:
            CCProxyError: the CLI cannot.
            WireError: it speaks another language.
        """
        if plan.rewind_to is None:
            return
        last = self._reminder_uuid or self.transcript.last_uuid
        request = requests.rewind_conversation(plan.rewind_to, last)
        told = await self._soon(self._controls.ask(request))
        answer = wire.decode_rewound(told.response.response)
        if not answer.rewound:
            raise ClaudeFailed(
                f"the claude CLI did not rewind its conversation: {answer.reason}"
            )
        self._reminder_uuid = ""
        self.transcript.rewound(plan)

    async def _offer(self, prompt: Prompt) -> None:
        listed = self._waiter = Deferred()
        names = self._tools.change(prompt.tools, self.acknowledge)
        await self._soon(self._controls.ask(requests.mcp_set_servers(names)))
        await self._soon(listed)

    async def _soon(self, waiter: "Deferred[_T]") -> _T:
        """Wait for what takes milliseconds, but not for as long as for an answer."""
        waiter.addTimeout(_SOON_SECONDS, self._surroundings.clock)
        try:
            return await waiter
        except DeferredTimeoutError:
            raise ClaudeFailed("the claude CLI does not do what it is told") from None

    def _configure(self, prompt: Prompt) -> None:
        body: dict[str, object] = dict(prompt.sampling)
        if prompt.stop:
            body["stop_sequences"] = list(prompt.stop)
        choice = demand.tool_choice(prompt, native=self._surroundings.forces_calls)
        if choice is not None:
            body["tool_choice"] = choice
        self._model = self._surroundings.full_id(prompt.model)
        settings = requests.apply_flag_settings(
            model=prompt.model,
            effort=prompt.effort.value if prompt.effort else None,
            max_tokens=prompt.max_tokens,
            extra_body=body,
        )
        if settings != self._settings:
            self._settings = settings
            # The CLI works its input off in order, so the question need not wait.
            self._controls.ask(settings).addErrback(self._lost)

    async def _acknowledged(self) -> None:
        self._waiter = Deferred()
        await self._waiter

    def acknowledge(self) -> None:
        """Go on: the CLI has taken what it was told."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def abandon(self, error: CCProxyError) -> None:
        """Give up."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.errback(error)
            # Whoever still waited has heard of it.
            waiter.addErrback(lambda failure: failure.trap(CCProxyError) and None)
