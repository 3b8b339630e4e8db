"""A Klein application that contains the proxy.

    PROXY_API_KEY=secret twistd -n --python examples/embed.py     # port 8081

The proxy is mounted twice. Below /ai clients need its key. Below /internal they need no
key, and the application checks them itself. The two proxies share no state.
"""

import os
from typing import Any

from klein import Klein
from twisted.application import strports
from twisted.application.service import Application, IService, MultiService
from twisted.web.pages import forbidden
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from ccproxy import Settings, create_proxy


def make_application(key: str, **options: Any) -> tuple[IResource, IService]:
    """Make the application: the resource to serve, and the service to start."""
    app = Klein()
    guarded = create_proxy(Settings(api_keys=(key,), **options))
    internal = create_proxy(Settings(api_keys=(), **options), authenticate=False)

    @app.route("/")
    def home(request: Request) -> bytes:
        request.setHeader("content-type", "text/plain")
        return b"my application; its models are at /ai/v1\n"

    @app.route("/ai/", branch=True)
    def ai(request: Request) -> IResource:
        return guarded.resource

    @app.route("/internal/", branch=True)
    def behind_my_own_check(request: Request) -> IResource:
        allowed: bool = request.getHeader("x-my-session") == "known"
        return internal.resource if allowed else forbidden()

    service = MultiService()
    guarded.service.setServiceParent(service)
    internal.service.setServiceParent(service)
    return app.resource(), service


# `twistd --python` runs the variable `application`.
if "PROXY_API_KEY" in os.environ:
    application = Application("embedding")
    resource, proxies = make_application(os.environ["PROXY_API_KEY"])
    proxies.setServiceParent(application)
    port = strports.service("tcp:8081:interface=127.0.0.1", Site(resource))
    port.setServiceParent(application)
