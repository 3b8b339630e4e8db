"""What npm's package has in the place of the CLI until its install script has run."""

# In our own words but for the first line, which names the stub; it has no `#!` line.
NPM_STUB = """echo "Error: claude native binary not installed." >&2
echo "The install script did not run." >&2
exit 1
"""
