"""Prepares a request for native mode. Pure."""

from attrs import evolve

from ccproxy.claude.body.models import rules_for
from ccproxy.claude.models import Catalogue, NamedModel
from ccproxy.claude.native.prompt import Effort, NativeQuestion
from ccproxy.claude.native.request import translate
from ccproxy.claude.native.structured_output import TOOL
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import MessagesRequest

_EFFORTS = {effort.value: effort for effort in Effort}


def native_question(
    request: MessagesRequest,
    named: NamedModel,
    catalogue: Catalogue,
    settings: NativeSettings,
) -> NativeQuestion:
    """Translate a request for the model that its client has named.

    Args:
        request: the client's request.
        named: the meaning of the client's name of the model.
        catalogue: knows the model's full id and its efforts.
        settings: the operator's settings.

    Raises:
        InvalidRequest: native mode cannot send the request; ``param`` is the client's
            path.
    """
    model, wanted = named.model, request.effort
    effort = None if wanted is None else catalogue.effort(model, wanted)
    model_id = catalogue.full_id(model)
    question = translate(
        request,
        model=model,
        effort=None if effort is None else _EFFORTS.get(effort),
        # The CLI adds notes to a conversation. A new process adds them in other places,
        # and the provider then refuses the thinking after them.
        thinking_of=None if rules_for(model_id).is_prefix_bound else model_id,
        forward_sampling=settings.forward_sampling,
        web_search=settings.has_web_search,
    )
    names = {tool.name for tool in question.prompt.tools}
    if question.prompt.schema is not None and TOOL in names:
        raise InvalidRequest(
            f"`tools`: a tool named {TOOL} cannot be offered together with a schema "
            "for the answer; give it another name",
            param="tools",
        )
    return evolve(
        question,
        ignored=(*named.ignored, *question.ignored),
        thinks_by_name=named.thinks,
        conversation=request.conversation,
    )
