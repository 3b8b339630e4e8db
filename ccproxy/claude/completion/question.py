"""A request that is ready to be asked."""

from collections.abc import Sequence

from attrs import frozen

from ccproxy.claude.body.compose import Composition
from ccproxy.core.messages import MessagesRequest


@frozen(kw_only=True)
class ComposedQuestion:
    """A request that is ready to be asked, as often as it is wanted.

    Attributes:
        request: what the client asked.
        model: the name that the client's name for the model was resolved to.
        owner: the id of the client's key.
    """

    request: MessagesRequest
    model: str
    owner: str
    composition: Composition

    @property
    def effort(self) -> str | None:
        """How hard the model is told to work; None: its default."""
        return self.composition.body.effort

    @property
    def adjusted(self) -> Sequence[str]:
        """The client's paths of what is sent otherwise than the client wrote it."""
        return self.composition.adjusted

    @property
    def ignored(self) -> Sequence[str]:
        """The client's paths of what is not sent."""
        return self.composition.ignored

    @property
    def prefix(self) -> str:
        """The hash of what stands before the answer."""
        return self.composition.prefix
