"""What a live CLI has been told, and what of it another question can use. Pure.

A CLI keeps its conversation. A question whose history begins with exactly that needs
only its new turns; for any other the conversation is rewound to a turn of the user's
up to which they agree, or to nothing. A turn is compared by what would be written of
it, byte for byte; one that is not known so well is never taken for the client's.

Source: protocol notes, "Input" (`rewind_conversation`); CLI 2.1.330: results of tools
cannot be rewound to, and a model or an effort that is changed within a conversation
leaves notes in it.
"""

from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b

import msgspec
from attrs import frozen

from ccproxy.conversation import Effort, Message, Prompt, Role, ToolResultBlock

_encode = msgspec.json.Encoder().encode


class Reuse(Enum):
    """What a CLI that has answered may be used for.

    ========  ==================================================================
    OFF       nothing more
    CONTINUE  the next turn of the same conversation
    REWIND    any conversation with the same system prompt
    ========  ==================================================================
    """

    OFF = "off"
    CONTINUE = "continue"
    REWIND = "rewind"


def fingerprint(message: Message) -> bytes:
    """What stands for a turn in comparisons; two turns with one are equal."""
    kinds = [type(block).__name__ for block in message.content]
    written = _encode((message.role, kinds, message.content))
    return blake2b(written, digest_size=20).digest()


def fingerprints(prompt: Prompt) -> Sequence[bytes]:
    """One for each turn of a question."""
    return [fingerprint(message) for message in prompt.messages]


@frozen
class Plan:
    """How a question is put to a CLI.

    Attributes:
        rewind_to: the UUID of the turn to take back first, with all behind it.
        kept: how many turns stay.
    """

    rewind_to: str | None
    kept: int

    @property
    def use(self) -> Reuse:
        """What it asks of the CLI."""
        return Reuse.CONTINUE if self.rewind_to is None else Reuse.REWIND


@frozen
class _Turn:
    # None: not known exactly.
    fingerprint: bytes | None
    # Of the user's; empty where the CLI made it itself.
    uuid: str = ""
    can_be_rewound_to: bool = False


class Transcript:
    """The conversation that a CLI has."""

    def __init__(self) -> None:
        self._turns: list[_Turn] = []
        self._speaker: tuple[str, Effort | None] | None = None

    def __len__(self) -> int:
        """How many turns it has."""
        return len(self._turns)

    def plan(
        self, prompt: Prompt, prints: Sequence[bytes], reuse: Reuse
    ) -> Plan | None:
        """How the question is put; None: the CLI is of no use for it.

        Args:
            prompt: the question.
            prints: its `fingerprints`.
            reuse: what is allowed.
        """
        common = self._common(prompt, prints)
        if common == len(self._turns):
            return Plan(None, common)
        if reuse is not Reuse.REWIND:
            return None
        return self._back_to(common)

    def _back_to(self, last: int) -> Plan | None:
        for position in range(last, -1, -1):
            turn = self._turns[position]
            if turn.can_be_rewound_to:
                return Plan(turn.uuid, position)
        return None

    @property
    def last_uuid(self) -> str:
        """Of the last turn of the user's that was written; empty: there is none."""
        return next((turn.uuid for turn in reversed(self._turns) if turn.uuid), "")

    def _common(self, prompt: Prompt, prints: Sequence[bytes]) -> int:
        """How many turns the two share; at least one of the question's is new."""
        if self._speaker not in (None, (prompt.model, prompt.effort)):
            return 0
        common = 0
        for turn, theirs in zip(self._turns, prints[:-1], strict=False):
            if turn.fingerprint != theirs:
                break
            common += 1
        return common

    def begin(self, prompt: Prompt) -> None:
        """Note who will be asked."""
        self._speaker = (prompt.model, prompt.effort)

    def told(self, message: Message, uuid: str) -> None:
        """Note a turn that was written."""
        is_users = message.role is Role.USER
        has_results = any(isinstance(b, ToolResultBlock) for b in message.content)
        turn = _Turn(
            fingerprint(message),
            uuid if is_users else "",
            is_users and not has_results,
        )
        self._turns.append(turn)

    def answered(self, message: Message | None) -> None:
        """Note the model's turn; None: not known exactly, as what was broken off."""
        self._turns.append(_Turn(None if message is None else fingerprint(message)))

    def rewound(self, plan: Plan) -> None:
        """Forget what the CLI has forgotten."""
        del self._turns[plan.kept :]
        if not self._turns:
            self._speaker = None

    def take_back(self) -> Plan | None:
        """How the last question is undone, with what came of it; None: it cannot be."""
        return self._back_to(len(self._turns) - 1)
