"""Which top-level fields are sent unchanged, left out or refused. Pure.

================  ==================================================================
never sent        fields that the CLI sets itself, or that would break its request
with a beta       sent if the CLI asks for the beta. Otherwise refused if the field
                  changes the meaning of the answer, else left out.
sampling          sent if the operator allows it and the model takes it
all others        sent unchanged, unknown fields too
================  ==================================================================

A response header names the fields that are left out.

Source: rules 36, 48 and 49 of the Messages API; docs/claude-cli-protocol.md,
"Body mode".
"""

from collections.abc import Collection, Mapping

import msgspec
from msgspec import Raw

from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.options import has_beta
from ccproxy.claude.body.result import Notes
from ccproxy.core.errors import ThreadsUnsupported, UnsupportedValue

# `thread` is here for safety; `sort_fields` refuses it, because SDKs expect status 400.
NEVER_SENT = frozenset(
    {
        *("system", "metadata", "model", "stream", "betas", "anthropic_beta"),
        *("anthropic_version", "thread", "diagnostics", "safeguards", "tags"),
        *("messages", "tools"),
        # JavaScript's `__proto__` could set any of these fields.
        "__proto__",
    }
)
SAMPLING = ("temperature", "top_p", "top_k")

# Refused unless their beta is named: without them the answer would mean something else.
# The text is the reason in the error. Their betas are in `_FIELD_BETAS` of
# `ccproxy.claude.body.options`.
_REFUSED: Mapping[str, str] = {
    "container": "there are no containers here",
    "mcp_servers": "the model reaches no MCP servers; run their tools in your client",
    "compaction": "conversations are not compacted here; send a shorter one",
}
_NOTHING = (b"null", b"[]", b"{}")


def sort_fields(
    extra: Mapping[str, Raw],
    rules: ModelRules,
    betas: Collection[str],
    notes: Notes,
    *,
    thinks: bool,
    forward_sampling: bool,
) -> dict[str, Raw]:
    """The fields that are sent unchanged.

    Args:
        extra: the client's fields that the proxy does not decode.
        rules: the model's.
        betas: the betas that the CLI's processes name.
        notes: takes fields that are left out.
        thinks: whether the model is going to think.
        forward_sampling: whether the operator allows ``temperature`` and the like.

    Raises:
        UnsupportedValue: the answer would mean something else without a field.
    """
    sent: dict[str, Raw] = {}
    for name, value in extra.items():
        raw = bytes(value).strip()
        if name == "thread" and raw != b"null":
            raise ThreadsUnsupported(
                "`thread` is not supported: the proxy keeps no threads; send all "
                "messages, without `thread`",
                param="thread",
            )
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
        elif raw in _NOTHING:
            continue
        elif name in _REFUSED:
            param = notes.name(name)
            raise UnsupportedValue(f"`{param}`: {_REFUSED[name]}", param=param)
        else:
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
