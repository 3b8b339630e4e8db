"""Driving the Claude Code CLI: launch, wire, process, turn, session, pool."""
