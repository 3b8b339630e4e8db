"""Routes for what Claude has not: the requests are sent on to another server."""
