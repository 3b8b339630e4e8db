"""What the operator decided about requests."""

from attrs import frozen


@frozen(kw_only=True)
class Policy:
    """What the operator decided about requests.

    Attributes:
        forward_sampling: clients may set temperature and the like.
    """

    forward_sampling: bool = False
