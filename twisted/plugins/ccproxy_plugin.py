"""The plugin for ``twistd ccproxy``; `ccproxy.cli.main` implements it."""

from twisted.application.service import ServiceMaker

ccproxy = ServiceMaker(
    "ccproxy",
    "ccproxy.cli.main",
    "An OpenAI-compatible API for the model behind the Claude Code CLI",
    "ccproxy",
)
