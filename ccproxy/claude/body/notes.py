"""What composing has changed or left out, by the client's own paths. Pure."""

from collections.abc import Mapping

from attrs import define, field


@define
class Notes:
    """The fields to be named to the client, each once, in the order of their finding.

    Args:
        names: the client's names for top-level fields.
    """

    names: Mapping[str, str] = field(factory=dict)
    _adjusted: dict[str, None] = field(factory=dict, init=False)
    _ignored: dict[str, None] = field(factory=dict, init=False)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """Fields that went up in another form."""
        return tuple(self._adjusted)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields that did not go up."""
        return tuple(self._ignored)

    def name(self, field_name: str) -> str:
        """What the client calls a top-level field."""
        return self.names.get(field_name, field_name)

    def adjust(self, path: str) -> None:
        """Note a field, by its path in the client's request; empty: nobody knows it."""
        if path:
            self._adjusted[path] = None

    def ignore(self, path: str) -> None:
        """Note a field that is left out, by its path in the client's request."""
        if path:
            self._ignored[path] = None
