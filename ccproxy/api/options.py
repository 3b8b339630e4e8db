"""What the operator decided about requests."""

from attrs import frozen


@frozen(kw_only=True)
class APIOptions:
    """What the operator decided about requests.

    Attributes:
        max_body: the largest request, over a WebSocket too.
        open_metrics: the metrics can be read on loopback without a key.
    """

    max_body: int = 2**20
    open_metrics: bool = False
