"""The CLI on this machine: its binary, its login, its conformance."""
