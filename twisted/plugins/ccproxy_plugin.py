"""Makes ``twistd ccproxy`` appear; everything is in `ccproxy.cli.main`."""

from twisted.application.service import ServiceMaker

ccproxy = ServiceMaker(
    "ccproxy",
    "ccproxy.cli.main",
    "An OpenAI-compatible API for the model behind the Claude Code CLI",
    "ccproxy",
)
