"""The CLI on this machine: which binary is in use, its login, its conformance."""
