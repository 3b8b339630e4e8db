"""A violation of a rule of the provider's."""

from attrs import frozen

_BAD_REQUEST = 400


@frozen
class Violation:
    """A violation of a rule by a request.

    Attributes:
        rule: its number in the rules of the Messages API.
        path: where, as the provider writes paths: ``tools.3.custom.input_schema``.
        message: the whole message of the provider's error.
        status: of its answer.
    """

    rule: int
    path: str
    message: str
    status: int = _BAD_REQUEST

    @classmethod
    def at(cls, rule: int, path: str, words: str) -> "Violation":
        """A violation whose message begins with the path."""
        return cls(rule, path, f"{path}: {words}")
