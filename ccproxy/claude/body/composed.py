"""A question as a worker takes it: what is set on the CLI, and the path back."""

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen


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
    cache_ttl: Literal["5m", "1h"] | None = None
    paths: Mapping[str, str] = field(factory=dict, eq=False, repr=False)
