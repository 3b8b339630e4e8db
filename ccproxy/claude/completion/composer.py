"""Composes request bodies so that a long one does not block the reactor.

A large request is composed in a thread. Any other request is composed in steps, because
a small request may continue a long conversation.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.body.compose import Composition, composing, run
from ccproxy.claude.body.options import ComposeOptions
from ccproxy.claude.models import Catalogue, NamedModel
from ccproxy.claude.protocol.records import Account
from ccproxy.core.backend import LARGE_BYTES
from ccproxy.core.messages import MessagesRequest

# The longest time without a turn of the reactor.
_SLICE_SECONDS = 0.02
_T = TypeVar("_T")


@frozen(kw_only=True)
class ComposedQuestion:
    """A request whose body is composed; it can be sent several times.

    Attributes:
        request: the client's request.
        named: the model, and the features that the client's name for it asks for.
        owner: the id of the client's key.
        composition: the body.
    """

    request: MessagesRequest
    named: NamedModel
    owner: str
    composition: Composition

    @property
    def conversation(self) -> str:
        """The id of the conversation, for the usage ledger."""
        return self.request.conversation

    @property
    def model(self) -> str:
        """The model's name for the CLI."""
        return self.named.model

    @property
    def thinks_by_name(self) -> bool:
        """Whether the model's name asks for thinking."""
        return self.named.thinks

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
        return (*self.named.ignored, *self.composition.ignored)

    @property
    def prefix(self) -> str:
        """The hash of everything before the answer."""
        return self.composition.prefix


class BodyComposer:
    """Composes the bodies that workers send.

    Attributes:
        catalogue: the models.
        answers: the remembered messages of the model.

    Args:
        options: the operator's settings of bodies.
        clock: measures the time of the steps.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        answers: RememberedAnswers,
        options: ComposeOptions,
        clock: IReactorTime,
    ) -> None:
        self.catalogue = catalogue
        self.answers = answers
        self._options = options
        self._clock = clock
        self._apart = DeferredLock()

    def learn(self, account: Account) -> None:
        """Take the CLI's report of its login.

        With a subscription, prompts are cached for an hour, unless the operator has
        chosen another time.
        """
        if self._options.cache_ttl is None and account.has_subscription:
            self._options = evolve(self._options, cache_ttl="1h")

    async def compose(
        self, request: MessagesRequest, *, model: str, owner: str
    ) -> Composition:
        """Compose a request.

        Args:
            request: the client's request.
            model: the name that `Catalogue.resolve` returned.
            owner: the id of the client's key.

        Raises:
            ClientError: the request cannot be sent to the model; ``param`` is the
                client's path.
        """
        wanted = request.effort
        await self._look_up(request, owner)
        steps = composing(
            request,
            model=model,
            model_id=self.catalogue.full_id(model),
            effort=None if wanted is None else self.catalogue.effort(model, wanted),
            remembered=self.answers.of(owner, self._clock.seconds()),
            options=self._options,
        )
        return await self._take(request, steps)

    async def _look_up(self, request: MessagesRequest, owner: str) -> None:
        """Load the conversation's remembered answers that only the store has."""
        thinking = request.thinking
        is_off = thinking is not None and thinking.value.type == "disabled"
        if self.answers.shared is None or is_off:
            return
        now = self._clock.seconds()
        steps = self.answers.missing_keys(owner, request.messages, now)
        keys = await self._take(request, steps)
        if not keys:
            return
        found = await self.answers.find_shared(owner, keys)
        await self._in_slices(_all(self.answers.add_shared(owner, found, now)))

    async def _take(
        self, request: MessagesRequest, steps: Generator[None, None, _T]
    ) -> _T:
        """Take all steps; in a thread if the request is large."""
        if request.size_bytes > LARGE_BYTES:
            # One message can have thousands of calls, and is one step.
            outcome: _T = await self._apart.run(deferToThread, run, steps)
            return outcome
        return await self._in_slices(steps)

    async def _in_slices(self, steps: Generator[None, None, _T]) -> _T:
        """Take all steps, with turns of the reactor between them."""
        began_seconds = self._clock.seconds()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                outcome: _T = end.value
                return outcome
            if self._clock.seconds() - began_seconds > _SLICE_SECONDS:
                turn: Deferred[None] = deferLater(self._clock, 0)
                await turn
                began_seconds = self._clock.seconds()


def _all(steps: Iterator[None]) -> Generator[None, None, None]:
    yield from steps
