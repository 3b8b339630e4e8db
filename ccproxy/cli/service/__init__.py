"""``ccproxy service``: installs, shows and removes the user's service."""
