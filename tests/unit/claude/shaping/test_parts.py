"""Answers of several parts, and the shaper of each plan."""

from types import NoneType
from typing import Any

import pytest

from ccproxy.claude.body.compose import make_shaper
from ccproxy.claude.body.result import AnswerTool, ShapingPlan
from ccproxy.claude.shaping.answer_tool import AnswerToolShaper
from ccproxy.claude.shaping.demand import DemandShaper
from ccproxy.claude.shaping.formatted import FormatShaper
from ccproxy.claude.shaping.stops import StopShaper
from ccproxy.core.blocks import Thinking, redacted_thinking_block
from ccproxy.core.stream import ContentBlockStart, ContentBlockStop, Event, Finished
from tests.support.composed import OPUS, composed, request, tool
from tests.unit.claude.shaping.answers import Asked, Client, answer, run, saying

CALL: Any = ("look", {})


def _signatures(client: Client) -> list[str]:
    values = [block.value for block in client.builder.blocks]
    return [v.signature for v in values if isinstance(v, Thinking)]


@pytest.mark.parametrize(
    ("signed", "signatures"), [(0, ["", ""]), (1, ["c2ln", ""]), (2, ["c2ln", "c2ln"])]
)
def test_only_the_first_parts_keep_their_signatures(
    signed: int, signatures: list[str]
) -> None:
    shaper = DemandShaper(["look"], Asked(), signed)
    client = run(shaper, answer(..., "No."), answer(..., CALL))
    assert _signatures(client) == signatures


def test_redacted_thinking_is_left_out_with_the_signatures() -> None:
    redacted: list[Event] = [
        ContentBlockStart(redacted_thinking_block("eA=="), 0),
        ContentBlockStop(0),
    ]
    told: list[Event] = [saying()[0], *redacted, Finished("max_tokens")]
    for signed, kinds in [(0, []), (1, ["redacted_thinking"])]:
        client = run(DemandShaper(["look"], Asked(), signed), told)
        assert client.kinds == kinds


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        (ShapingPlan(), NoneType),
        (ShapingPlan(stops=("\n",)), StopShaper),
        (ShapingPlan(demanded=("look",)), DemandShaper),
        (ShapingPlan(format_schema=b"{}"), FormatShaper),
        (ShapingPlan(answer_tool=AnswerTool(name="x", schema=None)), AnswerToolShaper),
    ],
)
def test_which_shaper_a_plan_needs(plan: ShapingPlan, kind: type) -> None:
    assert isinstance(make_shaper(plan, Asked()), kind)


def test_thinking_behind_the_proxys_text_is_unsigned_if_the_prefix_counts() -> None:
    demand = request("hi", tools=[tool()], tool_choice={"type": "any"})
    assert composed(demand, OPUS).plan.signed_parts == 0
    assert composed(demand, "claude-opus-5").plan.signed_parts == 2
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"format": {"type": "json_schema", "schema": schema}}
    formatted = request("hi", output_config=form)
    assert composed(formatted, OPUS).plan.signed_parts == 1
    assert composed(request("hi"), OPUS).plan.signed_parts == 2
