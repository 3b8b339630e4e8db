"""The options of `ccproxy.api`."""

from attrs import frozen

from ccproxy.config.options import Group, option
from ccproxy.config.parsers import PassthroughOption, passthrough, size, switch


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
    repair_histories: bool = option(
        group=Group.MODEL,
        parse=switch,
        help="repair conversations that a client has cut: a tool call without a result "
        "gets a failed result, and a result without a call becomes a text; otherwise "
        "such conversations are refused",
    )
    strict: bool = option(
        group=Group.MODEL,
        parse=switch,
        help="refuse requests with fields that have no effect; otherwise the header "
        "x-ccproxy-ignored names such fields",
    )
    passthrough: tuple[PassthroughOption, ...] = option(
        group=Group.SERVER,
        metavar="PATH=URL",
        parse=passthrough,
        repeatable=True,
        default_text="none",
        help="send /v1/embeddings, /v1/audio, /v1/images, /v1/moderations or "
        "/v1/rerank to another server, for example "
        "/v1/embeddings=http://127.0.0.1:11434/v1; "
        "with #VARIABLE at the end the key is taken from that environment variable; "
        "repeatable, or separated by commas",
    )
    open_metrics: bool = option(
        group=Group.ACCESS,
        parse=switch,
        help="serve GET /metrics without a key, at loopback addresses and Unix sockets "
        "only",
    )
