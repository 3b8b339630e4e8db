"""The CLI as a child process: finding, starting, watching, ending it."""
