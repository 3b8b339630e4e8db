"""Corrects the conversation, turn by turn. Pure.

Consecutive messages of the assistant are compared with the answers that are remembered
for the same conversation. If the model does not check the conversation before its
thinking, they are also compared with remembered answers whose calls have the same ids.
If text and calls are equal, the remembered answer is sent, with its thinking, its ids
and the results of the provider's tools. A search in an answer that is not remembered is
left out and reported.

Between two turns of the assistant, the results of calls are moved to the front, and
system messages to a place where the provider accepts them.

Thinking that the client sends is left out, and reported, in these cases:

- Thinking is off in this request.
- Another model made the thinking.
- The model checks the conversation before its thinking, and that conversation has
  changed. Later thinking without a hash of the conversation before it is then also
  left out.
- The model checks the blocks before its thinking, and one of them in the same message
  has changed.
- The thinking is at the end of a message.

A model that takes system messages accepts one only in this form and place:

- It consists of text.
- It follows a user's turn, or an assistant's turn that ends in a server tool's block.
- It ends the conversation, or an assistant's turn follows.

So the system messages between two turns of the assistant are moved after the user's
turns, and joined. If they can follow no turn, they become user's turns. A system
message with a block that is not text becomes a user's turn, too. For a model that takes
no system messages, each becomes a user's turn in its place. Every change is reported.

Source: rules 5 and 20 to 27 of the Messages API.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from attrs import define, field, frozen

from ccproxy.claude.body.models import ModelRules, is_same_model
from ccproxy.claude.body.pairing import OpenCalls, open_ids, results_first
from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.turns import Prefix, Turn, is_thinking
from ccproxy.core.blocks import (
    Block,
    Opaque,
    RedactedThinking,
    SearchCopy,
    Text,
    Thinking,
    ToolUse,
    is_blank,
)

# The blocks of one step; a turn with a text instead of blocks counts as one block.
_SLICE = 400


class Recall(Protocol):
    """The remembered answers to one client."""

    def find(
        self,
        prefix: str,
        client_copy: Sequence[Block],
        model_id: str,
        *,
        is_bound: bool,
    ) -> Sequence[Block] | None:
        """An answer as the model made it; None: no remembered answer is equal.

        Args:
            prefix: the hash of everything before the answer.
            client_copy: the client's copy of the answer.
            model_id: the model that the answer is sent to.
            is_bound: whether the answer must have been made after ``prefix``.
        """


@frozen(kw_only=True)
class HistoryRules:
    """The rules by which a conversation is corrected.

    Attributes:
        system_messages: whether the model takes system messages.
        drops_thinking: whether all thinking is left out.
        models: the model that made each of the client's thinking blocks, by the
            block's signature or data; a missing block's model is unknown.
        prefixes: a hash for each thinking block, by the same keys: the hash of
            everything that was before the block when the model made it.
    """

    model: ModelRules
    model_id: str
    system_messages: bool
    drops_thinking: bool
    models: Mapping[str, str]
    prefixes: Mapping[str, str]


@define
class History:
    """The corrected turns so far."""

    rules: HistoryRules
    prefix: Prefix
    recall: Recall | None
    notes: Notes
    turns: list[Turn] = field(factory=list)
    # The hash before the last answer; empty: there is no answer.
    asked: str = field(default="", init=False)
    _calls: OpenCalls = field(factory=OpenCalls)
    # Whether a block was left out because of its prefix.
    _is_broken: bool = field(default=False, init=False)

    def extend(self, turns: Sequence[Turn]) -> Iterator[None]:
        """Add turns, in steps.

        Raises:
            InvalidRequest: calls and results do not match.
        """
        done = 0
        for run in _runs(turns):
            if run[0].role == "assistant":
                self._assistant(run)
            else:
                self._others(run)
            done += sum(
                1 if isinstance(t.content, str) else len(t.content) for t in run
            )
            if done >= _SLICE:
                done = 0
                yield
        self._calls.close()

    def _others(self, run: Sequence[Turn]) -> None:
        ordered = results_first(run, self._calls, self.notes)
        self._calls.close()
        for turn in place_system_messages(
            ordered,
            self.notes,
            allowed=self.rules.system_messages,
            after_server_tool=bool(self.turns) and ends_in_server_tool(self.turns[-1]),
        ):
            self._add(turn)

    def _assistant(self, run: Sequence[Turn]) -> None:
        self.asked = self.prefix.digest
        rest = list(run)
        while rest:
            count = self._restored(rest)
            if not count:
                count = 1
                self._add_client_turn(rest[0])
            del rest[:count]

    def _restored(self, run: Sequence[Turn]) -> int:
        """Add a remembered answer; returns how many messages it replaces."""
        if self.recall is None:
            return 0
        prefix = self.prefix.digest
        for count in {len(run): None, 1: None}:
            client_copy = [block for turn in run[:count] for block in turn.blocks]
            found = self.recall.find(
                prefix,
                client_copy,
                self.rules.model_id,
                is_bound=self.rules.model.is_prefix_bound,
            )
            if found is not None and self.rules.drops_thinking:
                found = _without_thinking(found)
            if found is not None:
                # The provider refuses blank text, even if the model has made it.
                kept = [block for block in found if not _is_blank(block)]
                while kept and is_thinking(kept[-1]):
                    kept.pop()
                keys = set(map(_key, kept))
                for block in client_copy:
                    if is_thinking(block) and _key(block) not in keys:
                        self.notes.ignore(block.at)
                blocks = self._calls.open(kept, open_ids(client_copy), self.notes)
                if blocks:
                    self._add(Turn("assistant", blocks, run[0].at))
                return count
        return 0

    def _add_client_turn(self, turn: Turn) -> None:
        if isinstance(turn.content, str):
            self._add(turn)
            return
        kept: list[Block] = []
        prefix: str | None = None
        is_changed = False
        blocks = self._calls.open(turn.content, None, self.notes)
        for place, block in enumerate(blocks):
            is_changed = is_changed or self._differs(block, turn, place)
            if isinstance(block.value, SearchCopy):
                self.notes.ignore(block.at)
                is_changed = True
                continue
            if is_thinking(block):
                if prefix is None:
                    prefix = self.prefix.digest
                is_bound = is_changed and self.rules.model.is_prefix_bound
                if is_bound or not self._may_be_sent(block, prefix):
                    self.notes.ignore(block.at)
                    is_changed = True
                    continue
            kept.append(block)
        while kept and is_thinking(kept[-1]):
            self.notes.ignore(kept.pop().at)
        if kept:
            self._add(Turn("assistant", kept, turn.at, turn.extra))

    def _differs(self, block: Block, turn: Turn, place: int) -> bool:
        """Whether a block was changed, or a block before it was removed."""
        start, bracket, index = block.at.rpartition("[")
        if start == f"{turn.at}.content" and f"{bracket}{index}" != f"[{place}]":
            return True
        fields = ("id", "name", "input") if isinstance(block.value, ToolUse) else ()
        return any(self.notes.is_adjusted(block.path_of(name)) for name in fields)

    def _may_be_sent(self, block: Block, prefix: str) -> bool:
        """Whether a thinking block of the client may be sent."""
        rules = self.rules
        if rules.drops_thinking:
            return False
        key = _key(block)
        made_by = rules.models.get(key)
        if made_by and rules.model_id and not is_same_model(made_by, rules.model_id):
            return False
        if not rules.model.is_prefix_bound:
            return True
        made_after = rules.prefixes.get(key)
        if not made_after:
            return not self._is_broken
        if made_after != prefix:
            self._is_broken = True
            return False
        return True

    def _add(self, turn: Turn) -> None:
        self.prefix.add(turn)
        self.turns.append(turn)


def _without_thinking(answer: Sequence[Block]) -> Sequence[Block] | None:
    """A remembered answer without its thinking; None: the client's copy is complete.

    The client's copy lacks only thinking and the blocks of the provider's tools.
    """
    if not any(isinstance(block.value, Opaque) for block in answer):
        return None
    return [block for block in answer if not is_thinking(block)]


def _is_blank(block: Block) -> bool:
    return isinstance(block.value, Text) and is_blank(block.value.text)


def ends_in_server_tool(turn: Turn) -> bool:
    """Whether the last block of a turn belongs to a server tool."""
    if isinstance(turn.content, str) or not turn.content:
        return False
    return turn.role == "assistant" and isinstance(turn.content[-1].value, Opaque)


def allows_enabled_thinking(turns: Sequence[Turn]) -> bool:
    """Whether the assistant's last turn allows thinking of the type ``enabled``.

    The turn must begin with thinking, or have no calls. A prefill is not allowed.

    Source: rule 21 of the Messages API.
    """
    number = len(turns)
    while number and turns[number - 1].role != "assistant":
        number -= 1
    is_last = number == len(turns)
    run: list[Block] = []
    while number and turns[number - 1].role == "assistant":
        number -= 1
        run[:0] = turns[number].blocks
    if not run:
        return True
    if is_last and not ends_in_server_tool(turns[-1]):
        return False
    return is_thinking(run[0]) or not open_ids(run)


def _key(block: Block) -> str:
    match block.value:
        case Thinking(signature=signature):
            return signature
        case RedactedThinking(data=data):
            return data
    return ""


def _runs(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    """Groups of turns: consecutive turns of the assistant, and the turns between."""
    start = 0
    for index in range(1, len(turns) + 1):
        if index == len(turns) or (
            (turns[index].role == "assistant") != (turns[start].role == "assistant")
        ):
            yield turns[start:index]
            start = index


def cut_prefill(turn: Turn, notes: Notes) -> Turn | None:
    """Remove white space from a prefill's end; None: the prefill has nothing else.

    Source: rule 4 of the Messages API.
    """
    blocks = list(turn.blocks)
    last = blocks[-1]
    text = getattr(last.value, "text", None)
    if not isinstance(text, str) or text == text.rstrip():
        return turn
    notes.adjust(last.at or turn.at)
    if is_blank(text):
        blocks.pop()
    else:
        blocks[-1] = last.replaced(text=text.rstrip())
    return Turn("assistant", blocks, turn.at, turn.extra) if blocks else None


def place_system_messages(
    turns: Sequence[Turn], notes: Notes, *, allowed: bool, after_server_tool: bool
) -> list[Turn]:
    """Place the system messages among the turns between two turns of the assistant.

    Args:
        turns: turns of the user and the system, with all results of calls first.
        notes: gets the path of each message that is moved, joined or made a user's
            turn.
        allowed: whether the model takes system messages.
        after_server_tool: whether the assistant's turn before ``turns`` ends in a block
            of a server tool.
    """
    if all(turn.role == "user" for turn in turns):
        return list(turns)
    if not allowed:
        return [_as_user(turn, notes) for turn in turns]
    texts = [t if _is_text(t) else _as_user(t, notes) for t in turns]
    users = [turn for turn in texts if turn.role == "user"]
    systems = [turn for turn in texts if turn.role == "system"]
    if not users and not after_server_tool:
        return [_as_user(turn, notes) for turn in texts]
    is_user_next = False
    for turn in reversed(texts):
        if turn.role == "user":
            is_user_next = True
        elif is_user_next:
            notes.adjust(turn.at)
    return [*users, *_joined(systems, notes)]


def leading_system_text(turn: Turn) -> str | None:
    """The text of a system message; None: it has a block that is not text."""
    if isinstance(turn.content, str):
        return turn.content
    texts = [b.value.text for b in turn.content if isinstance(b.value, Text)]
    return "\n\n".join(texts) if len(texts) == len(turn.content) else None


def _joined(systems: Sequence[Turn], notes: Notes) -> list[Turn]:
    if len(systems) < 2:
        return list(systems)
    blocks: list[Block] = []
    for turn in systems:
        blocks += turn.blocks
    for turn in systems[1:]:
        notes.adjust(turn.at)
    return [Turn("system", blocks, systems[0].at, systems[0].extra)]


def _as_user(turn: Turn, notes: Notes) -> Turn:
    if turn.role == "user":
        return turn
    notes.adjust(f"{turn.at}.role" if turn.at else "")
    return Turn("user", turn.content, turn.at, turn.extra)


def _is_text(turn: Turn) -> bool:
    if turn.role == "user" or isinstance(turn.content, str):
        return True
    return all(isinstance(block.value, Text) for block in turn.content)
