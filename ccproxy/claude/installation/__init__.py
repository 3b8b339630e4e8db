"""The CLI on this machine: its version, its login, what it can be relied on for."""
