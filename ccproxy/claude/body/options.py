"""What the operator and the CLI's processes decide about bodies."""

from collections.abc import Collection, Mapping

from attrs import evolve, field, frozen
from msgspec import Raw

from ccproxy.claude.body.result import CacheTTL

# The provider takes 32 MB a request; the CLI's own fields need room in it.
LARGEST_BYTES = 31_000_000

# What the CLI asks the provider's own API for with every model (2.1.332).
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
    """What the operator and the CLI's processes decide.

    Attributes:
        forward_sampling: temperature and its like go up where the model takes them.
        forward_tool_choice: a demanded call goes up as it is, whatever is known of the
            model.
        cache_ttl: how long the cache keeps what it is told to keep where the client
            says nothing; None: the CLI's own default.
        operator_body: the operator's own ``CLAUDE_CODE_EXTRA_BODY``; ours goes before
            it, field by field.
        betas: those that the CLI's processes ask the provider for.
        system_messages: whether the provider's host has turns of role ``system``.
        new_web_search: whether it has the web search of 2026.
        largest_bytes: of a body, its system prompt included.
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

    A cloud has neither all of the API's trial features nor, as far as is known, system
    messages among the turns; Vertex has the older web search only.
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


# Field → what the names of its betas begin with, one of which is enough.
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
# The betas of fields within others, and of their values.
_NESTED_BETAS: Mapping[str, tuple[str, ...]] = {
    "output_config.task_budget": ("task-budgets-",),
    "thinking.block_binding": ("thinking-binding-controls-",),
    "thinking.display.updates": ("thinking-display-updates-",),
    "cache_control.scope": ("prompt-caching-scope-",),
    "messages.clear_at": ("mid-conversation-system-clear-at-",),
    "messages.output_config": ("mid-conversation-output-config-", "per-turn-control-"),
}


def has_beta(betas: Collection[str], field: str) -> bool:
    """Whether a field may be sent, as far as betas decide it."""
    starts = _FIELD_BETAS.get(field) or _NESTED_BETAS.get(field)
    return starts is None or any(beta.startswith(starts) for beta in betas)
