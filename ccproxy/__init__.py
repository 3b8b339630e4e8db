"""ccproxy: the model behind Claude Code, as an OpenAI-compatible API.

Run it as ``ccproxy`` or ``twistd ccproxy``. To make it part of another Twisted
application, see `create_proxy`; everything else is private.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccproxy.config.settings import Settings
    from ccproxy.server.service import Proxy, create_proxy

__version__ = "0.1.0"

__all__ = ["Proxy", "Settings", "__version__", "create_proxy"]


def __getattr__(name: str) -> Any:
    """Import the names for embedding when they are first used.

    The program's entry point must run before most modules are imported.
    """
    if name == "Settings":
        from ccproxy.config.settings import Settings

        return Settings
    if name in ("Proxy", "create_proxy"):
        from ccproxy.server import service

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
