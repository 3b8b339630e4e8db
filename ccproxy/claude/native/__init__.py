"""Native mode: the CLI composes requests and runs its own loop."""
