"""What composing gives: the body, the plan for its answer, and notes for the client.

Pure.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from attrs import define, field, frozen

CacheTTL: TypeAlias = Literal["5m", "1h"]

# The question is asked twice at most.
ALL_PARTS = 2


@frozen(kw_only=True)
class AnswerTool:
    """An answer by a schema, given as the arguments of a tool of ours.

    Attributes:
        name: of the tool; no tool of the client's has it.
        schema: the JSON of the client's schema, to be checked; None: any object.
    """

    name: str
    schema: bytes | None


@frozen(kw_only=True)
class ShapingPlan:
    """What the shaping of an answer needs to know; one thing at most.

    Attributes:
        stops: sequences of white space, which the provider does not stop at.
        demanded: the client's tools, one of which has to be called, where the model
            was only told so in words; empty: nothing is demanded.
        answer_tool: the tool of ours whose arguments are the answer.
        signed_parts: how many of the parts of the answer (see
            `ccproxy.claude.shaping.parts`) keep the signatures of their thinking. What
            was made behind words of ours would be refused when it comes back.
        format_schema: the JSON of the client's schema, where the provider itself holds
            the model to (most of) it; None: none.
    """

    stops: tuple[str, ...] = ()
    demanded: tuple[str, ...] = ()
    answer_tool: AnswerTool | None = None
    format_schema: bytes | None = None
    signed_parts: int = ALL_PARTS

    @property
    def is_empty(self) -> bool:
        """Whether the answer is told as it comes."""
        return self == ShapingPlan()


@frozen(kw_only=True)
class ComposedBody:
    """Everything that a CLI process is told for one request to the provider.

    Attributes:
        model: as the CLI's settings take it; always named.
        system: the system prompt, set by ``set_model``; empty for none.
        effort: the CLI's ``effortLevel``; None: the model's default.
        first_text: the CLI's own first user message: the client's first user text that
            is not blank, or a fixed word.
        json: the JSON object that the CLI merges into its request.
        cache_ttl: the CLI's ``CLAUDE_CODE_PROMPT_CACHE_TTL``, because all breakpoints
            of a request have to live equally long; None: the CLI's default.
        paths: from a path in the body, as the provider's errors name it
            (``messages.3.content.1``, ``tools.2``), to the client's own; see
            `ccproxy.claude.completion.error_paths`.
    """

    model: str
    system: str
    effort: str | None
    first_text: str
    json: bytes
    cache_ttl: CacheTTL | None = None
    paths: Mapping[str, str] = field(factory=dict, eq=False, repr=False)


@define
class Notes:
    """The fields to be named to the client, each once, in the order of their finding.

    Args:
        names: the client's names for top-level fields.
    """

    names: Mapping[str, str] = field(factory=dict)
    _adjusted: dict[str, None] = field(factory=dict, init=False)
    _ignored: dict[str, None] = field(factory=dict, init=False)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """Fields that went up in another form."""
        return tuple(self._adjusted)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields that did not go up."""
        return tuple(self._ignored)

    def name(self, field_name: str) -> str:
        """What the client calls a top-level field."""
        return self.names.get(field_name, field_name)

    def adjust(self, path: str) -> None:
        """Note a field, by its path in the client's request; empty: nobody knows it."""
        if path:
            self._adjusted[path] = None

    def ignore(self, path: str) -> None:
        """Note a field that is left out, by its path in the client's request."""
        if path:
            self._ignored[path] = None
