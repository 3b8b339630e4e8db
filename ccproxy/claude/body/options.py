"""Decides which top-level fields of a request are sent unchanged. Pure.

The CLI's processes send the same ``anthropic-beta`` header with all requests. If the
header lacks the beta of a field, the provider refuses the field like an unknown field.
So such a field cannot be sent.

================  ==================================================================
never sent        fields that the CLI sets itself, or that would break its request
with a beta       sent if the header has the beta, else left out
sampling          sent if the operator allows it and the model takes it
all others        sent unchanged, unknown fields too
================  ==================================================================

A response header names the fields that are left out. A field without which the answer
would mean something else is refused when the request is decoded.

Source: rules 36, 48 and 49 of the Messages API; the stable and the beta types of
anthropic-python; docs/claude-cli-protocol.md, "Body mode".
"""

from collections.abc import Collection, Mapping

import msgspec
from attrs import evolve, field, frozen
from msgspec import Raw

from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.result import CacheTTL, Notes
from ccproxy.core.messages import CLI_FIELDS

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
# The CLI's variable; ``--cache-ttl`` sets it.
CACHE_TTL = "CLAUDE_CODE_PROMPT_CACHE_TTL"
_VERTEX = "CLAUDE_CODE_USE_VERTEX"
_CLOUDS = (
    "CLAUDE_CODE_USE_BEDROCK",
    _VERTEX,
    "CLAUDE_CODE_USE_FOUNDRY",
)
_TTLS: Mapping[str, CacheTTL] = {"5m": "5m", "1h": "1h"}
_OFF = ("", "0", "false", "no", "off")
NEVER_SENT = frozenset(
    {
        *CLI_FIELDS,
        *("system", "model", "stream", "thread", "messages", "tools"),
        # JavaScript's `__proto__` could set any of these fields.
        "__proto__",
    }
)
SAMPLING = ("temperature", "top_p", "top_k")
# The client's header, which `ccproxy.api.messages.request` adds to the fields.
_BETA_HEADER = "anthropic-beta"
_NOTHING = (b"null", b"[]", b"{}")


@frozen(kw_only=True)
class ComposeOptions:
    """The options that come from the operator and the CLI's environment.

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
        server_tools: the provider's own tools that clients of OpenAI's APIs may use.
        largest_bytes: the largest size of a body with its system prompt.
    """

    forward_sampling: bool = False
    forward_tool_choice: bool = False
    cache_ttl: CacheTTL | None = None
    operator_body: Mapping[str, Raw] = field(factory=dict)
    betas: frozenset[str] = CLI_BETAS
    system_messages: bool = True
    new_web_search: bool = True
    server_tools: tuple[str, ...] = ()
    largest_bytes: int = LARGEST_BYTES


def for_environment(
    options: ComposeOptions, environment: Mapping[str, str]
) -> ComposeOptions:
    """Adapt options to the environment in which the CLIs are started.

    The clouds (Bedrock, Vertex, Foundry) have none of the CLI's default betas and, as
    far as is known, no turns of role ``system``. Vertex has the older web search only.
    """
    named = {b.strip() for b in environment.get(_BETAS_VARIABLE, "").split(",")} - {""}
    clouds = [n for n in _CLOUDS if environment.get(n, "").lower() not in _OFF]
    is_cloud = bool(clouds)
    own = options.betas - CLI_BETAS if is_cloud else options.betas
    ttl = environment.get(CACHE_TTL)
    return evolve(
        options,
        betas=own | named,
        system_messages=options.system_messages and not is_cloud,
        new_web_search=options.new_web_search and _VERTEX not in clouds,
        cache_ttl=_TTLS.get(ttl or "", options.cache_ttl),
    )


# The name prefixes of the betas of each field. One of the betas is enough.
_FIELD_BETAS: Mapping[str, tuple[str, ...]] = {
    "context_management": ("context-management-", "compact-"),
    "fallbacks": ("server-side-fallback-",),
    "fallback_credit_token": ("fallback-credit-",),
    "billing_policy": ("user-profiles-billing-",),
    "speed": ("fast-mode-",),
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
    """Whether a field needs no beta, or one of its betas is in ``betas``."""
    starts = _FIELD_BETAS.get(field) or _NESTED_BETAS.get(field)
    return starts is None or any(beta.startswith(starts) for beta in betas)


def sort_fields(
    extra: Mapping[str, Raw],
    rules: ModelRules,
    betas: Collection[str],
    notes: Notes,
    *,
    thinks: bool,
    forward_sampling: bool,
) -> dict[str, Raw]:
    """Select the fields that are sent unchanged.

    Args:
        extra: the client's fields that the proxy does not decode.
        rules: the model's rules.
        betas: the betas that the CLI's processes name.
        notes: gets the paths of fields that are left out.
        thinks: whether the model is going to think.
        forward_sampling: whether the operator allows ``temperature`` and the like.
    """
    sent: dict[str, Raw] = {}
    for name, value in extra.items():
        raw = bytes(value).strip()
        if name == _BETA_HEADER:
            for beta in msgspec.json.decode(raw, type=list[str]):
                if beta not in betas:
                    notes.ignore(f"{_BETA_HEADER}: {beta}")
            continue
        if raw == b"null" and (name in NEVER_SENT or name in SAMPLING):
            continue
        if name in NEVER_SENT:
            notes.ignore(notes.name(name))
        elif name in SAMPLING:
            if forward_sampling and _takes(rules, name, raw, thinks=thinks):
                sent[name] = value
            else:
                notes.ignore(notes.name(name))
        elif has_beta(betas, name):
            sent[name] = value
        elif raw not in _NOTHING:
            notes.ignore(notes.name(name))
    return sent


def _takes(rules: ModelRules, name: str, raw: bytes, *, thinks: bool) -> bool:
    """Whether the model takes a sampling value."""
    if rules.sampling == "none":
        return False
    if rules.sampling == "default" or thinks:
        return name != "top_k" and _is_one(raw)
    return True


def _is_one(raw: bytes) -> bool:
    try:
        return msgspec.json.decode(raw, type=float) == 1.0
    except msgspec.DecodeError:
        return False
