"""ccproxy: the model behind Claude Code, as an OpenAI-compatible API.

Run it as ``ccproxy`` or ``twistd ccproxy``. To make it part of another Twisted
application, see `create_proxy`; everything else is private.
"""

__version__ = "0.1.0"

from ccproxy.config.settings import Settings
from ccproxy.server.service import Proxy, create_proxy  # needs the version

__all__ = ["Proxy", "Settings", "__version__", "create_proxy"]
