"""Splits a request into the system prompt and corrected turns. Pure.

Source: rules 2 to 5 of the Messages API.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence

from ccproxy.claude.body.history import (
    cut_prefill,
    ends_in_server_tool,
    leading_system_text,
)
from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.turns import Turn, read_turn
from ccproxy.core.blocks import Block, Text, is_blank
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Message, MessagesRequest

_MOST_MESSAGES = 100_000
_SLICE = 1_000
# The CLI recognises its own blocks of `system` by these texts.
_ATTRIBUTION = "x-anthropic-billing-header:"
_IDENTITIES = (
    "You are Claude Code, Anthropic's official CLI for Claude",
    "You are a Claude agent, built on Anthropic's Claude Agent SDK",
)
_MARK = "__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__"


def read_request(
    request: MessagesRequest, notes: Notes, betas: Collection[str] = ()
) -> Generator[None, None, tuple[str, list[Turn]]]:
    """Read the system prompt and the corrected turns, in steps.

    Returns:
        A generator that returns both.

    Raises:
        InvalidRequest: the last message is blank, a role does not exist, or the request
            has too many messages.
    """
    if len(request.messages) > _MOST_MESSAGES:
        path = notes.name("messages")
        raise InvalidRequest(
            f"`{path}` has more than {_MOST_MESSAGES} messages", param=path
        )
    turns: list[Turn] = []
    blank_last = False
    for number, message in enumerate(request.messages):
        turn = read_turn(message, notes, betas)
        blank_last = turn is None and message.role == "user"
        if turn is not None:
            turns.append(turn)
        if number % _SLICE == _SLICE - 1:
            yield
    if blank_last:
        last = request.messages[-1]
        path = f"{last.at}.content" if last.at else notes.name("messages")
        raise InvalidRequest(
            f"`{path}`: the last message is blank; it needs text", param=path
        )
    system = "" if is_blank(request.system) else request.system
    while turns and turns[0].role == "system":
        text = leading_system_text(turns[0])
        if text is None:
            break
        notes.adjust(turns[0].at)
        system = f"{system}\n\n{text}" if system else text
        del turns[0]
    if not turns and system:
        # Without any turn, the system prompt is the question.
        if request.system:
            notes.adjust(notes.name("system"))
        return "", [Turn("user", system, "")]
    distinct = distinct_system_prompt(system)
    if distinct != system:
        notes.adjust(notes.name("system"))
    return distinct, turns


def distinct_system_prompt(text: str) -> str:
    """Change a text that the CLI would take for one of its own texts.

    An attribution or identity would replace the CLI's attribution or identity. A line
    break before the text prevents this. The CLI removes a line that consists of
    `_MARK`. Backquotes around the mark prevent this.
    """
    is_line = "\n" not in text
    if text.startswith(_ATTRIBUTION) or (is_line and text.startswith(_IDENTITIES)):
        return f"\n{text}"
    return _with_quoted_marks(text) if _MARK in text else text


def _with_quoted_marks(text: str) -> str:
    """Put backquotes around `_MARK` in each line that has nothing else."""
    pieces: list[str] = []
    place = 0
    while (mark := text.find(_MARK, place)) >= 0:
        begin = max(place, text.rfind("\n", place, mark) + 1)
        end = text.find("\n", mark)
        end = len(text) if end < 0 else end
        line = text[begin:end]
        # JavaScript's `trim` removes U+FEFF, too.
        if line.replace("\ufeff", "").strip() == _MARK:
            line = line.replace(_MARK, f"`{_MARK}`")
        pieces += (text[place:begin], line)
        place = end
    return "".join((*pieces, text[place:]))


def checked_end(turns: list[Turn], rules: ModelRules, notes: Notes) -> list[Turn]:
    """Check and correct the end of the turns.

    Raises:
        InvalidRequest: the last turn is a prefill, which the model does not take.
    """
    if not turns or turns[-1].role != "assistant" or ends_in_server_tool(turns[-1]):
        return turns
    last = turns[-1]
    if not rules.takes_prefill:
        path = f"{last.at}.role" if last.at else notes.name("messages")
        raise InvalidRequest(
            f"`{last.at or path}`: the conversation ends with a message of the "
            "assistant, and this model does not continue one (no prefill); end it "
            "with a message of the user",
            param=path,
        )
    cut = cut_prefill(last, notes)
    return [*turns[:-1], cut] if cut else turns[:-1]


def first_text(messages: Iterable[Message | Turn]) -> str | None:
    """The first text of the user that is not blank; None: there is none.

    Only text before the first answer counts. So all requests of a conversation have the
    same first text.
    """
    has_user_message = False
    for message in messages:
        if message.role == "assistant" and has_user_message:
            return None
        if message.role == "user":
            has_user_message = True
            for text in _texts(message.content):
                if not is_blank(text):
                    return text
    return None


def _texts(content: str | Sequence[Block]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content:
        if isinstance(block.value, Text):
            yield block.value.text
