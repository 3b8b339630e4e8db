"""The CLI as a child process: found, started, watched, ended."""
