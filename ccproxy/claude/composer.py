"""Requests composed in steps, so that a long one holds up nobody."""

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.body.compose import ComposeOptions, Composition, composing
from ccproxy.claude.models import Catalogue
from ccproxy.claude.protocol.records import Account
from ccproxy.core.messages import MessagesRequest

# Another request waits for so long at most.
_SLICE_SECONDS = 0.02


class BodyComposer:
    """Makes of a request what a worker is asked.

    Args:
        answers: what is remembered of the model's own messages.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        answers: RememberedAnswers,
        options: ComposeOptions,
        clock: IReactorTime,
    ) -> None:
        self._catalogue = catalogue
        self._answers = answers
        self._options = options
        self._clock = clock

    def learn(self, account: Account) -> None:
        """Take what the CLI tells of its login.

        With a subscription it keeps prompts in the cache for an hour, unless the
        operator says otherwise.
        """
        if self._options.cache_ttl is None and account.has_subscription:
            self._options = evolve(self._options, cache_ttl="1h")

    async def compose(
        self, request: MessagesRequest, *, model: str, owner: str
    ) -> Composition:
        """Compose a request.

        Args:
            request: what the client asks.
            model: as `Catalogue.resolve` has it.
            owner: the id of the client's key.

        Raises:
            ClientError: the model cannot be asked this; ``param`` is the client's.
        """
        wanted = request.effort
        steps = composing(
            request,
            model=model,
            model_id=self._catalogue.full_id(model),
            effort=None if wanted is None else self._catalogue.effort(model, wanted),
            remembered=self._answers.of(owner, self._clock.seconds()),
            options=self._options,
        )
        began_seconds = self._clock.seconds()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                composition: Composition = end.value
                return composition
            if self._clock.seconds() - began_seconds > _SLICE_SECONDS:
                turn: Deferred[None] = deferLater(self._clock, 0)
                await turn
                began_seconds = self._clock.seconds()
