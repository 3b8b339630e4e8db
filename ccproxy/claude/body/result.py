"""The result of composing: a body, the plan for its answer, and notes. Pure."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from attrs import define, field, frozen

from ccproxy.core.messages import Adjustments

CacheTTL: TypeAlias = Literal["5m", "1h"]
ClientPath: TypeAlias = Callable[[str], str | None]


def _unknown(_: str) -> str | None:
    return None


# The largest number of parts of an answer: the proxy sends at most two requests.
ALL_PARTS = 2


@frozen(kw_only=True)
class AnswerTool:
    """The proxy's tool whose arguments are the answer, if the answer needs a schema.

    Attributes:
        name: the tool's name; no tool of the client has it.
        schema: the client's schema as JSON, for the check; None: any object is valid.
        is_wrapped: whether the answer is the only property of the arguments.
    """

    name: str
    schema: bytes | None
    is_wrapped: bool = False


@frozen(kw_only=True)
class ShapingPlan:
    """The changes that the proxy has to make to an answer.

    At most one attribute besides ``signed_parts`` is set.

    Attributes:
        stops: stop sequences of white space, which the provider refuses.
        demanded: the names of the client's tools. The model must call one of them, and
            no ``tool_choice`` tells the provider so. Empty: the provider enforces the
            call, or no call is required.
        answer_tool: the proxy's tool whose arguments are the answer.
        format_schema: the client's schema as JSON. The proxy checks the answer, because
            the provider may enforce only a part of the schema. None: no check.
        signed_parts: the number of parts of the answer that keep the signatures of
            their thinking (see `ccproxy.claude.shaping.parts`). The other parts lose
            the signatures, because the provider would refuse thinking that follows a
            text of the proxy.
    """

    stops: tuple[str, ...] = ()
    demanded: tuple[str, ...] = ()
    answer_tool: AnswerTool | None = None
    format_schema: bytes | None = None
    signed_parts: int = ALL_PARTS

    @property
    def is_empty(self) -> bool:
        """Whether the answer is passed on unchanged."""
        return self == ShapingPlan()


@frozen(kw_only=True)
class ComposedBody:
    """Everything that a CLI process receives for one request to the provider.

    Attributes:
        model: the model's name for the CLI's settings; never empty.
        system: the system prompt; empty: none.
        effort: the CLI's ``effortLevel``; None: the model's default.
        first_text: the CLI's own user message: the client's first user text that is
            not blank, or a fixed text.
        json: the JSON object that the CLI merges into its request.
        cache_ttl: the CLI's ``CLAUDE_CODE_PROMPT_CACHE_TTL``: all breakpoints of a
            request must have one time to live; None: the CLI's default.
        prefixes: names of the beginnings of the request that the provider caches, the
            longest first (see `ccproxy.claude.body.cache`).
        client_path: translates a path in the provider's errors
            (``messages.3.content.1``, ``tools.2``) to the client's path; None: the
            client's request has no such part.
    """

    model: str
    system: str
    effort: str | None
    first_text: str
    json: bytes
    cache_ttl: CacheTTL | None = None
    prefixes: tuple[str, ...] = field(default=(), eq=False)
    client_path: ClientPath = field(default=_unknown, eq=False, repr=False)


@define
class Notes(Adjustments):
    """The client's fields that were changed or left out.

    Args:
        names: the client's names of top-level fields.
    """

    names: Mapping[str, str] = field(factory=dict)

    def name(self, field_name: str) -> str:
        """The client's name of a top-level field."""
        return self.names.get(field_name, field_name)
