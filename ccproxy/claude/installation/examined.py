"""A binary of the CLI, and what its examination has found. Pure."""

from attrs import define, field

from ccproxy.claude.installation.compose_mode import BinaryVerdict
from ccproxy.claude.installation.contract import Reaction
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.core.errors import Cause, CCProxyError, ClaudeUnavailable

# From the best to the worst.
_ORDER = (
    *(BinaryVerdict.MERGES, BinaryVerdict.DIFFERS),
    *(BinaryVerdict.FAILED, BinaryVerdict.UNUSABLE),
)


@define(eq=False)
class ExaminedBinary:
    """A binary under examination, or after it.

    Attributes:
        binary: the binary.
        launch: how the binary is examined.
        verdict: the result; `ccproxy.claude.installation.conformance` explains it.
        why: the reason for a bad verdict, one clause.
        error: the error of the examination; requests get it if the binary is unusable.
        result: what the checks have found so far.
        decided_seconds: when the last examination began or was decided.
    """

    binary: BinaryID
    launch: LaunchSpec
    verdict: BinaryVerdict = BinaryVerdict.EXAMINING
    why: str = ""
    error: CCProxyError | None = None
    result: ProbeResult = field(factory=ProbeResult)
    decided_seconds: float = 0.0

    @property
    def is_examining(self) -> bool:
        """Whether the decisive checks are not done."""
        return self.verdict is BinaryVerdict.EXAMINING

    @property
    def is_good(self) -> bool:
        """Whether the binary answers requests, in body mode or in native mode."""
        return self.verdict in (BinaryVerdict.MERGES, BinaryVerdict.DIFFERS)

    def is_worse_than(self, other: "ExaminedBinary") -> bool:
        """Whether this binary should not replace the other binary."""
        return _ORDER.index(self.verdict) > _ORDER.index(other.verdict)

    @property
    def is_without_result(self) -> bool:
        """Whether another examination may find something else."""
        return self.verdict in (BinaryVerdict.FAILED, BinaryVerdict.UNUSABLE)

    @property
    def is_unsafe(self) -> bool:
        """Whether the binary is refused for a missing behaviour."""
        return self.error is not None and self.error.cause is Cause.CLI_FALLS_SHORT

    @property
    def name(self) -> str:
        """The version, for messages."""
        return f"claude CLI {self.result.version or 'of unknown version'}"

    @property
    def shortcoming(self) -> str:
        """Why the binary does not replace a better one, one clause."""
        if self.verdict is BinaryVerdict.DIFFERS:
            return f"the {self.name} does not send bodies as they were set: {self.why}"
        if self.verdict is BinaryVerdict.FAILED:
            return f"the claude CLI could not be examined: {self.why}"
        return self.why

    def decide(self, result: ProbeResult) -> None:
        """Take the result of the decisive checks."""
        self.result = result
        unsafe = result.first(Reaction.REFUSED)
        if unsafe:
            why = f"the {self.name} is not safe to use: {unsafe}"
            self.fail(ClaudeUnavailable(why, cause=Cause.CLI_FALLS_SHORT))
            return
        self.error, self.why = None, result.first(Reaction.NATIVE)
        self.verdict = BinaryVerdict.DIFFERS if self.why else BinaryVerdict.MERGES

    def fail(self, error: CCProxyError) -> None:
        """Take the failure of an examination."""
        self.error, self.why = error, error.message
        is_unusable = isinstance(error, ClaudeUnavailable)
        self.verdict = BinaryVerdict.UNUSABLE if is_unusable else BinaryVerdict.FAILED
