"""What has to be done to an answer, because the provider does not do it. Pure."""

from attrs import frozen

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
class Plan:
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
        return self == Plan()
