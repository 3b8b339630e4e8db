"""The server: a Twisted service made from the settings, with metrics and logs."""
