"""What the operator and the CLI's environment decide about bodies. Pure.

The CLI's processes send one ``anthropic-beta`` header with all requests. The provider
refuses a field whose beta is not in the header as a field that does not exist. So a
field without its beta cannot be sent.

Source: rule 48 of the Messages API; the stable and the beta types of anthropic-python.
"""

from collections.abc import Collection, Mapping

from attrs import evolve, field, frozen
from msgspec import Raw

from ccproxy.claude.body.result import CacheTTL

# The provider takes requests up to 32 MB, with the CLI's own fields.
LARGEST_BYTES = 31_000_000

# The CLI names these betas for every model, on the provider's own API (2.1.332).
CLI_BETAS = frozenset(
    {
        "claude-code-20250219",
        "interleaved-thinking-2025-05-14",
        "context-management-2025-06-27",
        "thinking-token-count-2026-05-13",
    }
)
_BETAS_VARIABLE = "ANTHROPIC_BETAS"
_CACHE_TTL = "CLAUDE_CODE_PROMPT_CACHE_TTL"
_VERTEX = "CLAUDE_CODE_USE_VERTEX"
_CLOUDS = (
    "CLAUDE_CODE_USE_BEDROCK",
    _VERTEX,
    "CLAUDE_CODE_USE_FOUNDRY",
)
_TTLS: Mapping[str, CacheTTL] = {"5m": "5m", "1h": "1h"}
_OFF = ("", "0", "false", "no", "off")


@frozen(kw_only=True)
class ComposeOptions:
    """What the operator and the CLI's environment decide.

    Attributes:
        forward_sampling: whether ``temperature``, ``top_p`` and ``top_k`` are sent to
            models that take them.
        forward_tool_choice: whether a required call is sent as ``tool_choice`` to all
            models.
        cache_ttl: the time to live of cache breakpoints if the client sets none; None:
            the CLI's default.
        operator_body: the operator's ``CLAUDE_CODE_EXTRA_BODY``; the request's fields
            replace its fields.
        betas: the betas that the CLI's processes name.
        system_messages: whether the provider's host takes turns of role ``system``.
        new_web_search: whether the provider's host has the web search of 2026.
        largest_bytes: the most bytes of a body with its system prompt.
    """

    forward_sampling: bool = False
    forward_tool_choice: bool = False
    cache_ttl: CacheTTL | None = None
    operator_body: Mapping[str, Raw] = field(factory=dict)
    betas: frozenset[str] = CLI_BETAS
    system_messages: bool = True
    new_web_search: bool = True
    largest_bytes: int = LARGEST_BYTES


def for_environment(
    options: ComposeOptions, environment: Mapping[str, str]
) -> ComposeOptions:
    """The options for CLIs that are started with an environment.

    The clouds (Bedrock, Vertex, Foundry) have none of the CLI's default betas and, as
    far as is known, no turns of role ``system``. Vertex has the older web search only.
    """
    named = {b.strip() for b in environment.get(_BETAS_VARIABLE, "").split(",")} - {""}
    clouds = [n for n in _CLOUDS if environment.get(n, "").lower() not in _OFF]
    is_cloud = bool(clouds)
    own = options.betas - CLI_BETAS if is_cloud else options.betas
    ttl = environment.get(_CACHE_TTL)
    return evolve(
        options,
        betas=own | named,
        system_messages=options.system_messages and not is_cloud,
        new_web_search=options.new_web_search and _VERTEX not in clouds,
        cache_ttl=_TTLS.get(ttl or "", options.cache_ttl),
    )


# Field → the beginnings of the names of its betas. One of the betas is enough.
_FIELD_BETAS: Mapping[str, tuple[str, ...]] = {
    "context_management": ("context-management-", "compact-"),
    "fallbacks": ("server-side-fallback-",),
    "fallback_credit_token": ("fallback-credit-",),
    "billing_policy": ("user-profiles-billing-",),
    "speed": ("fast-mode-",),
    "mcp_servers": ("mcp-client-",),
    "container": ("skills-", "code-execution-"),
    "compaction": ("compact-",),
}
# The betas of nested fields, and of some of their values.
_NESTED_BETAS: Mapping[str, tuple[str, ...]] = {
    "output_config.task_budget": ("task-budgets-",),
    "thinking.block_binding": ("thinking-binding-controls-",),
    "thinking.display.updates": ("thinking-display-updates-",),
    "cache_control.scope": ("prompt-caching-scope-",),
    "messages.clear_at": ("mid-conversation-system-clear-at-",),
    "messages.output_config": ("mid-conversation-output-config-", "per-turn-control-"),
}


def has_beta(betas: Collection[str], field: str) -> bool:
    """Whether no beta of a field is missing."""
    starts = _FIELD_BETAS.get(field) or _NESTED_BETAS.get(field)
    return starts is None or any(beta.startswith(starts) for beta in betas)
