"""Which shaper an answer needs. Pure."""

from collections.abc import Collection

from ccproxy.claude.body.plan import Plan
from ccproxy.claude.shaping.answer_tool import AnswerToolShaper
from ccproxy.claude.shaping.demand import DemandShaper
from ccproxy.claude.shaping.formatted import FormatShaper
from ccproxy.claude.shaping.interface import Again, AnswerShaper, Plain
from ccproxy.claude.shaping.stops import StopShaper


def make_shaper(
    plan: Plan, again: Again, client_tools: Collection[str] = ()
) -> AnswerShaper:
    """The shaper for one answer.

    Args:
        plan: what there is to do.
        again: composes the question once more.
        client_tools: the names of the tools that the client can answer.
    """
    if plan.answer_tool is not None:
        return AnswerToolShaper(
            plan.answer_tool, again, client_tools, plan.signed_parts
        )
    if plan.format_schema is not None:
        return FormatShaper(plan.format_schema, again, plan.signed_parts)
    if plan.demanded:
        return DemandShaper(plan.demanded, again, plan.signed_parts)
    if plan.stops:
        return StopShaper(plan.stops)
    return Plain()
