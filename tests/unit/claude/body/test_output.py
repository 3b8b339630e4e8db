"""Answers by a schema: with ``output_config.format``, or with the answer tool."""

from typing import Any

import pytest
from attrs import evolve

from ccproxy.claude.body.compose import Composition
from ccproxy.claude.body.result import AnswerTool
from ccproxy.core.errors import ClientError
from tests.support.composed import (
    HAIKU_4_5,
    OPUS,
    assistant,
    body_of,
    composed,
    request,
    system,
    tool,
    user,
)

CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "additionalProperties": {"type": "string"}}
OFF = {"type": "disabled"}


def _form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "schema": schema}


def _ask(
    form: Any, model_id: str = OPUS, messages: Any = "hi", **fields: Any
) -> Composition:
    asked = request(messages, output_config={"format": form}, **fields)
    return composed(asked, model_id)


def test_a_format_is_sent_unchanged() -> None:
    composition = _ask(_form(CLOSED))
    assert body_of(composition)["output_config"] == {"format": _form(CLOSED)}
    assert composition.plan.format_schema is not None
    assert composition.adjusted == ()
    assert composition.is_remembered


def test_narrowing_keywords_are_left_out_reported_and_checked() -> None:
    limited = {**CLOSED, "properties": {"a": {"type": "string", "maxLength": 3}}}
    composition = _ask(_form(limited))
    sent = body_of(composition)["output_config"]["format"]["schema"]
    assert sent == CLOSED
    assert b"maxLength" in (composition.plan.format_schema or b"")
    assert composition.adjusted == ("output_config.format.schema",)


def test_other_fields_of_output_config_stay() -> None:
    asked = request("hi", output_config={"effort": "low", "verbosity": 3})
    assert body_of(composed(asked))["output_config"] == {"verbosity": 3}


@pytest.mark.parametrize(
    ("model_id", "schema"),
    [(OPUS, OPEN), ("claude-sonnet-4-20250514", CLOSED), (OPUS, {"type": "object"})],
)
def test_without_a_format_the_answer_tool_is_added(model_id: str, schema: Any) -> None:
    composition = _ask(_form(schema), model_id)
    body = body_of(composition)
    assert "output_config" not in body
    assert [t["name"] for t in body["tools"]] == ["structured_output"]
    assert body["tools"][0]["input_schema"] == schema
    tool_ = composition.plan.answer_tool
    assert tool_ is not None
    assert tool_.name == "structured_output"
    assert not composition.is_remembered
    assert composition.body.system == ""


def test_json_object_allows_any_object() -> None:
    composition = _ask({"type": "json_object"})
    assert body_of(composition)["tools"][0]["input_schema"] == {"type": "object"}
    assert composition.plan.answer_tool == AnswerTool(
        name="structured_output", schema=None
    )


def test_the_answer_tool_is_last_and_has_a_new_name() -> None:
    clients = [tool("structured_output"), tool("structured_output_2")]
    composition = _ask(_form(OPEN), tools=clients)
    body = body_of(composition)
    assert body["tools"][:2] == clients
    assert body["tools"][2]["name"] == "structured_output_3"
    assert body["messages"][-1] == system(
        "Give your final answer by calling the tool `structured_output_3`. "
        "Do not answer in prose."
    )


def test_a_call_of_the_answer_tool_is_required_where_the_model_takes_that() -> None:
    composition = _ask(_form(OPEN), HAIKU_4_5, thinking=OFF)
    assert body_of(composition)["tool_choice"] == {
        "type": "tool",
        "name": "structured_output",
    }
    composition = _ask(_form(OPEN), HAIKU_4_5, thinking=OFF, tools=[tool()])
    assert body_of(composition)["tool_choice"] == {"type": "any"}
    assert len(body_of(composition)["messages"]) == 1


def test_alternatives_at_the_root_are_merged_for_the_answer_tool() -> None:
    schema = {**OPEN, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    composition = _ask(_form(schema))
    sent = body_of(composition)["tools"][0]
    assert "anyOf" not in sent["input_schema"]
    assert '"anyOf"' in sent["description"]


def test_with_tool_choice_none_only_the_answer_tool_is_sent() -> None:
    composition = _ask(_form(OPEN), tools=[tool()], tool_choice={"type": "none"})
    assert [t["name"] for t in body_of(composition)["tools"]] == ["structured_output"]
    assert "tools" in composition.adjusted
    # The API's own format needs no such thing.
    composition = _ask(_form(CLOSED), tools=[tool()], tool_choice={"type": "none"})
    assert len(body_of(composition)["tools"]) == 1


def test_a_required_call_excludes_the_answer_tool() -> None:
    for schema in (OPEN, CLOSED):
        composition = _ask(_form(schema), tools=[tool()], tool_choice={"type": "any"})
        assert composition.plan.answer_tool is None
        assert composition.plan.format_schema is None
        assert composition.plan.demanded == ("look",)
        assert [t["name"] for t in body_of(composition)["tools"]] == ["look"]


def test_citations_and_a_prefill_exclude_the_format() -> None:
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    }
    cited = {**document, "citations": {"enabled": True}}
    for block, is_format in [(document, True), (cited, False)]:
        composition = _ask(_form(CLOSED), messages=[user("x", block)])
        assert ("output_config" in body_of(composition)) is is_format
    told = [user("hi"), assistant("{")]
    composition = _ask(_form(CLOSED), HAIKU_4_5, told, thinking=OFF)
    assert "output_config" not in body_of(composition)


def test_a_format_of_unknown_type_is_sent() -> None:
    form = {"type": "grammar", "syntax": "lark"}
    composition = _ask(form)
    assert body_of(composition)["output_config"] == {"format": form}
    assert composition.plan.is_empty
    assert composition.adjusted == ()


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "json_schema"}, "output_config.format.schema"),
        (_form([]), "output_config.format.schema"),
    ],
)
def test_an_invalid_format_is_refused(form: Any, param: str) -> None:
    asked = request("hi", output_config={"format": _form(CLOSED)})
    config = asked.output_config
    assert config is not None
    asked = evolve(asked, output_config=config.replaced(format=form))
    with pytest.raises(ClientError) as caught:
        composed(asked)
    assert caught.value.param == param


def test_white_space_does_not_stop_an_answer_with_a_format() -> None:
    composition = _ask(_form(CLOSED), stop_sequences=["\n", "END"])
    assert body_of(composition)["stop_sequences"] == ["END"]
    assert composition.plan.stops == ()
    assert composition.ignored == ("stop_sequences",)
