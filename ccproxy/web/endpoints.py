"""Properties of an endpoint, read from its text. Pure."""


def uses_tls(text: str) -> bool:
    """Whether an endpoint uses TLS."""
    return text.startswith(("ssl:", "tls:"))


def is_inherited(text: str) -> bool:
    """Whether an endpoint is a socket that systemd passes to the process."""
    return text.startswith("systemd:")
