"""Requests that native mode prepares, or refuses, for a model."""

import pytest

from ccproxy.claude.models import Catalogue, NamedModel
from ccproxy.claude.native.prompt import NativeQuestion
from ccproxy.claude.native.question import native_question
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.core import blocks, messages
from ccproxy.core.errors import InvalidRequest


def _question(request: messages.MessagesRequest, model: str = "m") -> NativeQuestion:
    catalogue = Catalogue("m", (), 0)
    return native_question(
        request, NamedModel(model=model), catalogue, NativeSettings()
    )


def test_client_tool_with_the_name_of_the_clis_answer_tool() -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    request = messages.MessagesRequest(
        messages=(messages.Message("user", "hello"),),
        tools=(messages.client_tool("StructuredOutput", None, {}),),
        output_config=blocks.parsed(messages.OutputValue, format=form),
    )
    with pytest.raises(InvalidRequest, match="StructuredOutput"):
        _question(request)


THOUGHT = blocks.thinking_block("Hm.", "c2ln", "messages[1].content[0]")


@pytest.mark.parametrize(
    ("model_id", "thinker", "is_sent"),
    [
        # New models refuse it behind another prefix, and a new process has another.
        ("claude-sonnet-5-5", "", False),
        ("claude-opus-4-6", "", True),
        ("claude-opus-4-6", "claude-opus-4-6-20260101", True),
        ("claude-opus-4-6", "claude-haiku-4-5", False),
    ],
)
def test_thinking_is_sent_to_a_model_that_accepts_it(
    model_id: str, thinker: str, is_sent: bool
) -> None:
    """For other models, the field is named as ignored."""
    said = (THOUGHT, blocks.text_block("Hello."))
    request = messages.MessagesRequest(
        messages=(
            messages.Message("user", "hello"),
            messages.Message("assistant", said),
            messages.Message("user", "go on"),
        ),
        thinking_models={"c2ln": thinker} if thinker else {},
    )
    question = _question(request, model_id)
    kinds = [type(block).__name__ for block in question.prompt.messages[1].content]
    assert ("ThinkingBlock" in kinds) is is_sent
    assert question.ignored == (() if is_sent else ("messages[1].content[0]",))
