"""Encodes answers that are not streamed as one ``chat.completion``. Pure.

Source: ``CreateChatCompletionResponse`` in OpenAI's document; tests with clients.
"""

from collections.abc import Mapping

from attrs import frozen
from msgspec import UNSET

from ccproxy.api.chat.reasoning import ReasoningDetail, ReasoningEncoder
from ccproxy.api.chat.schemas import (
    Annotation,
    ChatCompletion,
    CitedURL,
    CompletionChoice,
    Finish,
    ServerToolError,
    stop_fields,
    usage_of,
)
from ccproxy.api.chat.tool_calls import NO_ARGUMENTS, ToolCallFormat
from ccproxy.api.common.citations import CitedText, URLCitation
from ccproxy.api.common.server_calls import server_result
from ccproxy.api.common.tools import agent_line
from ccproxy.core.blocks import (
    Block,
    Opaque,
    RedactedThinking,
    Text,
    Thinking,
    ToolUse,
)
from ccproxy.core.encoding import (
    encode_json,
)
from ccproxy.core.fallbacks import fallback_model
from ccproxy.core.message_builder import AnswerCollector, BuiltBlock, MessageBuilder
from ccproxy.core.stream import (
    AgentToolUsed,
    Finished,
    FinishReason,
    MessageStart,
)

_FINISH: Mapping[FinishReason, Finish] = {
    FinishReason.LENGTH: "length",
    FinishReason.REFUSAL: "content_filter",
}
PLAIN_CALLS = ToolCallFormat()


@frozen(kw_only=True)
class CompletionMeta:
    """The fields of the document, or of every chunk, of an answer.

    Attributes:
        created: the Unix time of the request, in seconds.
        prefix: the hash of the conversation before the answer; it is sent with thinking
            (`ReasoningDetail`); empty: unknown.
    """

    id: str
    created: int
    prefix: str = ""


class ChatDocument(AnswerCollector):
    """Collects the answers of one request that is not streamed."""

    def __init__(
        self,
        meta: CompletionMeta,
        choices: int,
        call_format: ToolCallFormat = PLAIN_CALLS,
    ) -> None:
        super().__init__(choices)
        self._meta = meta
        self._call_format = call_format

    def encode(self) -> bytes:
        """Encode the ``chat.completion``; all answers must have ended without error."""
        choices = [
            _choice(
                index, message, message.finished, self._call_format, self._meta.prefix
            )
            for index, message in enumerate(self.messages)
            if message.finished is not None
        ]
        return encode_json(
            ChatCompletion(
                id=self._meta.id,
                created=self._meta.created,
                model=self.model,
                choices=choices,
                usage=usage_of(self.usage),
            )
        )


def _choice(
    index: int,
    message: MessageBuilder,
    end: Finished,
    call_format: ToolCallFormat,
    prefix: str,
) -> CompletionChoice:
    """Encode one finished answer."""
    reasoning, model = ReasoningEncoder(prefix), ""
    thinking: list[str] = []
    details: list[ReasoningDetail] = []
    calls: list[tuple[ToolUse, str]] = []
    cited = CitedText()
    annotations: list[Annotation] = []
    errors: list[ServerToolError] = []
    parts = message.parts
    for part in parts:
        match part:
            case MessageStart():
                model = part.model
            case AgentToolUsed():
                thinking.append(agent_line(part))
            case BuiltBlock(block, arguments):
                cited.begin_block(block)
                match block.value:
                    case Text(text):
                        cited.add(text)
                        annotations += map(annotation, cited.end_block())
                    case Opaque():
                        model = fallback_model(block) or model
                        errors += tool_errors(block)
                    case Thinking(thought, signature):
                        thinking.append(thought)
                        if signature:
                            details.append(reasoning.signed(thought, signature, model))
                    case RedactedThinking(data):
                        details.append(reasoning.redacted(data, model))
                    case ToolUse() as call:
                        is_whole = part is not parts[-1] or is_complete(end)
                        otherwise = NO_ARGUMENTS if is_whole else ""
                        calls.append((call, arguments or otherwise))
    encoded = call_format.message(message.text, calls)
    encoded.reasoning_content = "".join(thinking) or UNSET
    encoded.reasoning_details = details or UNSET
    encoded.annotations = annotations or UNSET
    encoded.server_tool_errors = errors or UNSET
    encoded.refusal = end.refusal or None
    return CompletionChoice(
        index,
        encoded,
        finish_reason(end, call_format, has_called=bool(calls)),
        **stop_fields(end),
    )


def annotation(citation: URLCitation) -> Annotation:
    """Encode a citation of a web page."""
    place = (citation.start, citation.end)
    return Annotation(url_citation=CitedURL(*place, citation.url, citation.title))


def tool_errors(block: Block) -> list[ServerToolError]:
    """The error of a call of the provider's tool, if the block has one."""
    result = server_result(block)
    if result is None or not result.error:
        return []
    return [ServerToolError(tool=result.tool, code=result.error)]


def finish_reason(
    end: Finished, call_format: ToolCallFormat, *, has_called: bool
) -> Finish:
    """The finish reason for an answer's end, with or without calls."""
    return _FINISH.get(end.reason) or (call_format.finish if has_called else "stop")


def is_complete(end: Finished) -> bool:
    """Whether the last call of an answer is complete."""
    return end.reason not in _FINISH
