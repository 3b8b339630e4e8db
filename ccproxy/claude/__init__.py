"""Drives the Claude Code CLI: request bodies, processes, protocol, pools."""
