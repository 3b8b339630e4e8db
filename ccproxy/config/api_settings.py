"""The options of `ccproxy.api`."""

from attrs import frozen

from ccproxy.config.options import Group, option
from ccproxy.config.parsers import size, switch


@frozen(kw_only=True, slots=False)
class APISettings:
    """Settings of the APIs' routes."""

    max_body: int = option(
        group=Group.LIMITS,
        variable="MAX_BODY",
        metavar="SIZE",
        parse=size,
        default="32MiB",
        help="largest request body",
    )
    open_metrics: bool = option(
        group=Group.ACCESS,
        parse=switch,
        help="serve GET /metrics without a key, at loopback addresses and Unix sockets "
        "only",
    )
