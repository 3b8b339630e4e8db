"""What is not passed on as the client sent it, by the client's own paths. Pure."""

from attrs import Factory, define, field


@define
class Adjustments:
    """Filled while a request is decoded; named in the answer's headers."""

    _ignored: dict[str, None] = field(init=False, default=Factory(dict))
    _adjusted: dict[str, None] = field(init=False, default=Factory(dict))

    @property
    def ignored(self) -> tuple[str, ...]:
        """What was left out, such as ``seed`` or ``messages[2].content``."""
        return tuple(self._ignored)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """What is sent in another form."""
        return tuple(self._adjusted)

    def ignore(self, *paths: str) -> None:
        """Note what is left out; a path is named once."""
        self._ignored |= dict.fromkeys(paths)

    def adjust(self, *paths: str) -> None:
        """Note what is changed; a path is named once."""
        self._adjusted |= dict.fromkeys(paths)
