"""What the operator and the CLI's processes decide about bodies."""

from collections.abc import Mapping

from attrs import field, frozen
from msgspec import Raw

from ccproxy.claude.body.cache import CacheTTL

# The provider takes 32 MB a request; the CLI's own fields need room in it.
LARGEST_BYTES = 31_000_000


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
        largest_bytes: of a body, its system prompt included.
    """

    forward_sampling: bool = False
    forward_tool_choice: bool = False
    cache_ttl: CacheTTL | None = None
    operator_body: Mapping[str, Raw] = field(factory=dict)
    betas: frozenset[str] = frozenset()
    system_messages: bool = True
    largest_bytes: int = LARGEST_BYTES
