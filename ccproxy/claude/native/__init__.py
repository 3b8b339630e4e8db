"""The native way: the CLI composes requests and runs its own loop."""
