"""The behaviours of the CLI that the proxy relies on, as data. Pure.

Each behaviour has a check (`ccproxy.claude.installation.checks` and
`ccproxy.claude.native.checks`). ``ccproxy conformance`` runs all checks; a server runs
those that are quick, once for each binary. The proxy reacts to a missing behaviour as
follows:

===========  ======================================================================
REFUSED      no request is sent: the CLI counts as unusable
NATIVE       every request is sent in native mode, which is slower
REPLACED     after an answer that needs the behaviour, the process is killed, and
             another process is started
REDUCED      answers are complete; the effort, a name, a figure or a text differs
FAILS        requests that need it fail, with an error that says so
===========  ======================================================================

Source: docs/claude-cli-protocol.md, "What is checked".
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum

from attrs import frozen

# The newest version with which the tests were run.
NEWEST_TESTED = "2.1.332"

_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Reaction(Enum):
    """The proxy's reaction to a missing behaviour; see the module's table."""

    REFUSED = "refused"
    NATIVE = "native"
    REPLACED = "replaced"
    REDUCED = "reduced"
    FAILS = "fails"


# No request is sent before the checks of behaviours with these reactions are done.
DECISIVE = frozenset({Reaction.REFUSED, Reaction.NATIVE})


@frozen(kw_only=True)
class Behaviour:
    """One behaviour of the CLI.

    Attributes:
        name: for results, logs and metrics.
        what: the behaviour, as a sentence without a full stop.
        loss: what a client or the operator loses without it.
        since: the first version that is known to have it.
        section: the section of the source that explains it.
        reaction: what the proxy does without it.
        is_quick: whether a server checks it; if not, only ``ccproxy conformance`` does.
    """

    name: str
    what: str
    loss: str
    since: str = "2.1.248"
    section: str
    reaction: Reaction
    is_quick: bool = True


CONTRACT: tuple[Behaviour, ...] = (
    Behaviour(
        name="verbatim_text",
        what="a text with `client_composed` is sent as it is",
        loss="files that a prompt names (`@path`) are sent, and commands are run",
        section="Input",
        reaction=Reaction.REFUSED,
    ),
    Behaviour(
        name="merged_body",
        what="each key of `CLAUDE_CODE_EXTRA_BODY` replaces the CLI's own key",
        loss="messages, tools and fields of the client do not arrive",
        section="Body mode",
        reaction=Reaction.NATIVE,
    ),
    Behaviour(
        name="model",
        what="`apply_flag_settings` sets the model of the next request",
        loss="another model answers",
        section="Input",
        reaction=Reaction.NATIVE,
    ),
    Behaviour(
        name="system_prompt",
        what="`set_model` replaces the system prompt, also after a question",
        loss="the system prompt is missing, or is another client's",
        section="Body mode",
        reaction=Reaction.NATIVE,
    ),
    Behaviour(
        name="settings_undone",
        what="a setting leaves no trace after it was reset",
        loss="fields of one client are sent with the question of another",
        section="Input",
        reaction=Reaction.NATIVE,
    ),
    Behaviour(
        name="rewind",
        what="`rewind_conversation` removes a question and its answer",
        loss="a conversation of one client is sent with the question of another",
        section="One question",
        reaction=Reaction.NATIVE,
    ),
    Behaviour(
        name="one_request",
        what="a question is one request, even if the answer calls a tool",
        loss="the CLI repeats the request, and each one is charged",
        section="Tools",
        reaction=Reaction.NATIVE,
    ),
    Behaviour(
        name="interrupt",
        what="`interrupt` ends a turn, and the process can be asked again",
        loss="a cancelled request costs a process",
        section="Ends",
        reaction=Reaction.REPLACED,
    ),
    Behaviour(
        name="end_max_tokens",
        what="with the limit, an answer that ends at `max_tokens` is one request",
        loss="a process, and at most one further request, for each such answer",
        section="Requests of its own",
        reaction=Reaction.REPLACED,
    ),
    Behaviour(
        name="end_refusal",
        what="with the limit, a refusal is one request",
        loss="a process, and at most one further request, for each such answer",
        section="Requests of its own",
        reaction=Reaction.REPLACED,
        is_quick=False,
    ),
    Behaviour(
        name="end_empty",
        what="with the limit, an empty answer is one request",
        loss="a process, and at most one further request, for each such answer",
        section="Requests of its own",
        reaction=Reaction.REPLACED,
        is_quick=False,
    ),
    Behaviour(
        name="retries",
        what="a retry is announced, and has the same body",
        loss="a process for each answer that the provider refused first",
        section="Retries",
        reaction=Reaction.REPLACED,
        is_quick=False,
    ),
    Behaviour(
        name="usage",
        what="the events of an answer have the provider's token counts",
        loss="the usage of answers, for clients and in the metrics",
        section="Output",
        reaction=Reaction.REDUCED,
    ),
    Behaviour(
        name="cost",
        what="`result` has the cost of the process so far",
        loss="the cost in the metrics",
        section="Output",
        reaction=Reaction.REDUCED,
    ),
    Behaviour(
        name="catalogue",
        what="`initialize` answers with the models and their full ids",
        loss="the list of models; names are sent to the CLI unchanged",
        section="Input",
        reaction=Reaction.REDUCED,
    ),
    Behaviour(
        name="login_report",
        what="`initialize` answers with the source of the login",
        loss="the login in `GET /ready`",
        section="Logins",
        reaction=Reaction.REDUCED,
    ),
    Behaviour(
        name="error_log",
        what="`--debug-to-stderr` writes the provider's errors to stderr",
        loss="some messages of the provider; the client gets the CLI's words",
        since="2.1.251",
        section="The provider's own words",
        reaction=Reaction.REDUCED,
    ),
    Behaviour(
        name="effort",
        what="`apply_flag_settings` sets the effort of the next request",
        loss="the effort that a client asks for; the model's default is used",
        section="Input",
        reaction=Reaction.REDUCED,
    ),
    Behaviour(
        name="heartbeat",
        what="a control request of an unknown subtype is answered",
        loss="a hanging process is found by the time limits of answers only",
        section="Is it alive",
        reaction=Reaction.REDUCED,
    ),
    Behaviour(
        name="betas",
        what="the betas in `ANTHROPIC_BETAS` are in the header of requests",
        loss="the provider refuses requests with fields that need these betas",
        section="Body mode",
        reaction=Reaction.FAILS,
    ),
    Behaviour(
        name="native_history",
        what="a line with `shouldQuery: false` is added to the conversation",
        loss="requests with a conversation",
        section="History",
        reaction=Reaction.FAILS,
        is_quick=False,
    ),
    Behaviour(
        name="native_tools",
        what="the tools of an MCP server keep their names, and a call of one arrives",
        loss="the model knows the tools of a client by names with a prefix",
        section="Tools",
        reaction=Reaction.REDUCED,
        is_quick=False,
    ),
    Behaviour(
        name="native_manifest",
        what="a manifest of tools needs no handshake",
        loss="some milliseconds: the proxy answers the handshake",
        since="2.1.265",
        section="Tools",
        reaction=Reaction.REDUCED,
        is_quick=False,
    ),
    Behaviour(
        name="native_schema",
        what="`jsonSchema` adds the tool `StructuredOutput`",
        loss="requests with a schema for the answer",
        section="Tools",
        reaction=Reaction.FAILS,
        is_quick=False,
    ),
)

BEHAVIOURS: Mapping[str, Behaviour] = {each.name: each for each in CONTRACT}
QUICK = frozenset(each.name for each in CONTRACT if each.is_quick)


def is_newer(version: str, than: str) -> bool:
    """Whether a version, such as ``2.1.332``, is newer than another."""
    return _numbers(version) > _numbers(than)


def is_expected(name: str, version: str | None) -> bool:
    """Whether a version should have a behaviour; an unknown version should."""
    return version is None or not is_newer(BEHAVIOURS[name].since, version)


def first_with(reaction: Reaction, missing: Iterable[str]) -> str | None:
    """The first missing behaviour with a reaction, in the contract's order."""
    lost = frozenset(missing)
    for each in CONTRACT:
        if each.reaction is reaction and each.name in lost:
            return each.name
    return None


class Standing(Enum):
    """Whether a version fulfils the contract.

    A version need not have behaviours that are newer than itself.

    ===========  ==================================================================
    UNCHECKED    not all quick checks are done
    TESTED       it fulfils the contract, and is not newer than `NEWEST_TESTED`
    NEWER        it fulfils the contract, and is newer, or its version is not known
    FALLS_SHORT  it lacks a behaviour that it should have
    ===========  ==================================================================
    """

    UNCHECKED = "unchecked"
    TESTED = "tested"
    NEWER = "newer_than_tested"
    FALLS_SHORT = "falls_short"


def standing(
    version: str | None, missing: Iterable[str], *, is_complete: bool
) -> Standing:
    """Whether a version fulfils the contract; see `Standing`.

    Args:
        version: the version; None: not known.
        missing: the names of missing behaviours.
        is_complete: whether all quick checks are done.
    """
    if any(is_expected(name, version) for name in missing):
        return Standing.FALLS_SHORT
    if not is_complete:
        return Standing.UNCHECKED
    if version is None or is_newer(version, NEWEST_TESTED):
        return Standing.NEWER
    return Standing.TESTED


def _numbers(version: str) -> tuple[int, ...]:
    match = _NUMBERS.search(version)
    return tuple(map(int, match.groups())) if match else ()
