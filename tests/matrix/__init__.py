"""The contract's checks on a list of published versions of the CLI."""
