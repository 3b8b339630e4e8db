"""The result of a binary's examination. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from ccproxy.claude.installation.contract import (
    QUICK,
    Reaction,
    Standing,
    first_with,
    is_expected,
    standing,
)


class ProbeResult(msgspec.Struct, frozen=True):
    """The result of an examination.

    Attributes:
        version: the CLI's version; None: it is not known.
        findings: the difference that was found, as one clause, by the name of each
            checked behaviour; empty: the CLI has the behaviour.
        has_error_log: whether the CLI knows the option of the error log.
    """

    version: str | None = None
    findings: Mapping[str, str] = {}
    has_error_log: bool = True

    @property
    def is_complete(self) -> bool:
        """Whether all quick checks of this version of ccproxy were made."""
        return self.findings.keys() >= QUICK

    @property
    def missing(self) -> Mapping[str, str]:
        """The behaviours that the CLI lacks, each with the difference."""
        return {name: what for name, what in self.findings.items() if what}

    @property
    def falls_short_in(self) -> Sequence[str]:
        """The missing behaviours that the version should have."""
        return [name for name in self.missing if is_expected(name, self.version)]

    @property
    def standing(self) -> Standing:
        """Whether the version fulfils the contract."""
        return standing(self.version, self.missing, is_complete=self.is_complete)

    def first(self, reaction: Reaction) -> str:
        """The difference of the first behaviour with this reaction; empty: none."""
        name = first_with(reaction, self.missing)
        return "" if name is None else self.missing[name]
