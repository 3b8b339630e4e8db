"""Settings of the native way."""

from attrs import frozen


@frozen(kw_only=True)
class SuspensionLimits:
    """How many sessions may wait for results of tool calls, and how long each."""

    sessions: int
    seconds: float


@frozen(kw_only=True)
class NativeOptions:
    """The operator's settings of the native way.

    Attributes:
        suspension: limits on processes that wait for results of tool calls.
        forward_sampling: send temperature and the like upstream.
        web_search: the model has Claude Code's own web search.
        forces_calls: send a required tool call as ``tool_choice``; if not, the
            system prompt asks for the call.
        shows_own_calls: tell clients of the calls of Claude Code's own tools.
    """

    suspension: SuspensionLimits
    forward_sampling: bool = False
    web_search: bool = False
    forces_calls: bool = False
    shows_own_calls: bool = False
