"""Which fields need a name in the header ``anthropic-beta``. Pure.

The header is the same for all questions of a CLI's process, so a field whose beta is
missing cannot go up: the provider would refuse it as one that does not exist.

Source: rule 48 of the Messages API; the stable and the beta types of anthropic-python.
"""

from collections.abc import Collection, Mapping

# Field → what the names of its betas begin with, one of which is enough.
_BETAS: Mapping[str, tuple[str, ...]] = {
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
    starts = _BETAS.get(field) or _NESTED_BETAS.get(field)
    return starts is None or any(beta.startswith(starts) for beta in betas)
