"""A request whose body is composed."""

from collections.abc import Sequence

from attrs import frozen

from ccproxy.claude.body.compose import Composition
from ccproxy.core.messages import MessagesRequest


@frozen(kw_only=True)
class ComposedQuestion:
    """A request whose body is composed; it can be asked several times.

    Attributes:
        request: the client's request.
        model: the name that the client's name of the model was resolved to.
        owner: the id of the client's key.
        composition: the body.
    """

    request: MessagesRequest
    model: str
    owner: str
    composition: Composition

    @property
    def effort(self) -> str | None:
        """The effort that is sent; None: the model's default."""
        return self.composition.body.effort

    @property
    def adjusted(self) -> Sequence[str]:
        """The client's paths of fields that are sent in another form."""
        return self.composition.adjusted

    @property
    def ignored(self) -> Sequence[str]:
        """The client's paths of fields that are not sent."""
        return self.composition.ignored

    @property
    def prefix(self) -> str:
        """The hash of everything in front of the answer."""
        return self.composition.prefix
