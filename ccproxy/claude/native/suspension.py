"""Finds the request with the results that a suspended session waits for. Pure.

The conversation of this request is the session's conversation plus the calls and their
results. A request that differs in anything else gets a new session, so that the model
gets exactly the client's conversation.

Source: docs/claude-cli-protocol.md, "Tools".
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import evolve, frozen

from ccproxy.claude.native.prompt import (
    ImageBlock,
    Prompt,
    PromptMessage,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.core.blocks import Text, ToolUse, is_blank
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import FinishReason

# The CLI writes a result of over 50,000 characters to a file, and shows the model its
# first 2,000 characters.
_LONGEST_RESULTS = 40_000

# The CLI takes the id `a_2` for another name of `a`.
_NUMBERED = re.compile(r"_\d+$")

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@frozen
class Suspension:
    """The request and the calls for whose results a session waits.

    Attributes:
        prompt: the session's last request.
        text: the model's text before its calls.
        calls: the calls in order, with the model's ids.
    """

    prompt: Prompt
    text: str
    calls: tuple[ToolUseBlock, ...]

    def results(self, prompt: Prompt) -> Sequence[ToolResultBlock] | None:
        """The results in a request, with the model's ids.

        The client may have changed the ids of the calls, and left out the thinking.

        Returns:
            None if the request is not the continuation of this session.
        """
        before, messages = self.prompt.messages, prompt.messages
        if len(messages) != len(before) + 2 or messages[: len(before)] != before:
            return None
        # The JSON is compared, because Python takes 1 for True and ignores the order
        # of keys.
        if _encoded(evolve(prompt, messages=before)) != _encoded(self.prompt):
            return None
        ids = self._ids(messages[-2])
        return None if ids is None else self._renamed(ids, messages[-1])

    def _ids(self, answer: PromptMessage) -> Sequence[str] | None:
        """The client's ids of the calls; None: the answer is not this session's."""
        texts: list[str] = []
        calls: list[ToolUseBlock] = []
        for block in answer.content:
            match block:
                case TextBlock(text) if not calls:
                    texts.append(text)
                case ToolUseBlock():
                    calls.append(block)
                case ThinkingBlock() | RedactedThinkingBlock():
                    pass
                case _:
                    return None
        text = "" if is_blank(self.text) else self.text
        if answer.role is not Role.ASSISTANT or "".join(texts) != text:
            return None
        if [*map(_call_key, calls)] != [*map(_call_key, self.calls)]:
            return None
        return [call.id for call in calls]

    def _renamed(
        self, ids: Sequence[str], message: PromptMessage
    ) -> Sequence[ToolResultBlock] | None:
        results = [b for b in message.content if isinstance(b, ToolResultBlock)]
        found = {result.tool_use_id: result for result in results}
        if len(results) < len(message.content) or found.keys() != set(ids):
            return None
        if not all(map(_is_shown_unchanged, results)):
            return None
        if sum(map(_length, results)) > _LONGEST_RESULTS:
            return None
        return [
            evolve(found[identifier], tool_use_id=call.id)
            for identifier, call in zip(ids, self.calls, strict=True)
        ]


def _encoded(prompt: Prompt) -> bytes:
    """The whole prompt, byte for byte."""
    kinds = [[type(block).__name__ for block in m.content] for m in prompt.messages]
    return _encode((kinds, prompt))


def _call_key(call: ToolUseBlock) -> tuple[str, bytes]:
    return call.name, _encode(call.input)


def _is_shown_unchanged(result: ToolResultBlock) -> bool:
    """Whether the CLI shows a result to the model unchanged."""
    content = result.content
    if isinstance(content, str):
        # The CLI replaces a blank result.
        return not is_blank(content)
    # The CLI passes on images unchanged, except in errors.
    return (
        bool(content)
        and not result.is_error
        and all(
            isinstance(block, TextBlock)
            or (isinstance(block, ImageBlock) and block.media_type is not None)
            for block in content
        )
    )


def _length(result: ToolResultBlock) -> int:
    content = result.content
    if isinstance(content, str):
        return len(content)
    return sum(len(b.text) if isinstance(b, TextBlock) else 0 for b in content)


def suspension_after(prompt: Prompt, message: MessageBuilder) -> Suspension | None:
    """The `Suspension` after an answer; None: the session cannot be resumed.

    Args:
        prompt: the question.
        message: the whole answer.
    """
    end = message.finished
    if end is None or end.reason is not FinishReason.TOOL_USE or not message.is_whole:
        return None
    calls: list[ToolUseBlock] = []
    for block in message.blocks:
        match block.value:
            case Text() if calls:
                # Histories of OpenAI's APIs have no place for text after a call.
                return None
            case ToolUse(identifier, name, arguments):
                try:
                    decoded = _decode_object(arguments)
                except msgspec.DecodeError:
                    # The arguments have a number that Python cannot hold.
                    return None
                calls.append(ToolUseBlock(identifier, name, decoded))
    if _are_ambiguous([*_call_ids(prompt), *(call.id for call in calls)]):
        return None
    return Suspension(prompt, message.text, tuple(calls))


def _call_ids(prompt: Prompt) -> Sequence[str]:
    return [
        block.id
        for message in prompt.messages
        for block in message.content
        if isinstance(block, ToolUseBlock)
    ]


def _are_ambiguous(ids: Sequence[str]) -> bool:
    """Whether the CLI would confuse two of the ids and lose a result."""
    taken = set(ids)
    return len(taken) < len(ids) or any(
        _NUMBERED.sub("", identifier) in taken - {identifier} for identifier in ids
    )
