"""The models that a client can name."""

from attrs import frozen


@frozen(kw_only=True)
class ModelEntry:
    """A model that a client can name.

    Attributes:
        name: the value of the client's ``model`` field.
        since_seconds: when the proxy learned of the model, in Unix time.
    """

    name: str
    since_seconds: int
