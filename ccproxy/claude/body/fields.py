"""The top-level fields that are sent as they came, named or refused. Pure.

================  ==================================================================
never sent        what the CLI says of itself, or what would break its reading
with a beta       only where the CLI's processes have it; else named, or refused
                  where the answer would mean something else without it
sampling          by the operator's leave and the model's
all others        sent as they came, also those that this table does not know
================  ==================================================================

Source: rules 36, 48 and 49 of the Messages API; docs/claude-cli-protocol.md,
"The body set whole".
"""

from collections.abc import Collection, Mapping

import msgspec
from msgspec import Raw

from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.options import has_beta
from ccproxy.claude.body.result import Notes
from ccproxy.core.errors import ThreadsUnsupported, UnsupportedValue

# `thread` is refused besides: SDKs wait for its 400.
NEVER_SENT = frozenset(
    {
        *("system", "metadata", "model", "stream", "betas", "anthropic_beta"),
        *("anthropic_version", "thread", "diagnostics", "safeguards", "tags"),
        *("messages", "tools"),
        # The CLI is JavaScript, where it could stand behind all of these.
        "__proto__",
    }
)
SAMPLING = ("temperature", "top_p", "top_k")

# Those without which the answer would mean something else, and what to do instead.
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
    """The fields that go up as they came.

    Args:
        extra: those that the client sent, besides those that are understood.
        rules: of the model.
        betas: those that the CLI's processes ask for.
        notes: take what is not sent.
        thinks: whether the model is going to think.
        forward_sampling: whether the operator lets temperature and its like pass.

    Raises:
        UnsupportedValue: one without which the answer would mean something else.
    """
    sent: dict[str, Raw] = {}
    for name, value in extra.items():
        raw = bytes(value).strip()
        if name == "thread" and raw != b"null":
            raise ThreadsUnsupported(
                "`thread` is not supported: no conversation is kept here; send all "
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
