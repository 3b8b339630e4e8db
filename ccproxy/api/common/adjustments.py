"""Which fields of a request do not reach the model as the client sent them. Pure."""

from attrs import Factory, define, field


@define
class Adjustments:
    """Filled while a request is decoded. Each path is noted once."""

    _ignored: dict[str, None] = field(init=False, default=Factory(dict))
    _adjusted: dict[str, None] = field(init=False, default=Factory(dict))
    _web_searches: dict[str, None] = field(init=False, default=Factory(dict))

    @property
    def ignored(self) -> tuple[str, ...]:
        """The client's paths of fields without effect, such as ``seed``."""
        return tuple(self._ignored)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """The client's paths of fields that are sent in another form."""
        return tuple(self._adjusted)

    @property
    def web_searches(self) -> tuple[str, ...]:
        """The client's paths of ``MessagesRequest.web_search_paths``."""
        return tuple(self._web_searches)

    def ignore(self, *paths: str) -> None:
        """Note fields that have no effect."""
        self._ignored |= dict.fromkeys(paths)

    def adjust(self, *paths: str) -> None:
        """Note fields that are sent in another form."""
        self._adjusted |= dict.fromkeys(paths)

    def search_web(self, path: str) -> None:
        """Note a field that lets the model search the web by itself."""
        self._web_searches[path] = None
