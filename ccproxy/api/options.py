"""What the operator decided about requests."""

from attrs import frozen


@frozen(kw_only=True)
class APIOptions:
    """What the operator decided about requests.

    Attributes:
        web_search: the model can search the web by itself.
        max_body_bytes: the largest request, over a WebSocket too.
        open_metrics: the metrics can be read on loopback without a key.
    """

    web_search: bool = False
    max_body_bytes: int = 2**20
    open_metrics: bool = False
