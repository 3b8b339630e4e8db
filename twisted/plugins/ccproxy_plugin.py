"""Makes ``twistd ccproxy`` appear; everything is in `ccproxy.command`."""

from twisted.application.service import ServiceMaker

ccproxy = ServiceMaker(
    "ccproxy",
    "ccproxy.command",
    "An OpenAI-compatible API for the model behind the Claude Code CLI",
    "ccproxy",
)
