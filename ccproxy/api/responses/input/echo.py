"""The fields of a request that its response repeats. Pure."""

from attrs import frozen


@frozen(kw_only=True)
class Echo:
    """The fields of a request that its response repeats.

    Attributes:
        model: the client's name of the model; after the request was prepared, the
            resolved name.
        effort: the client's effort; after the request was prepared, the effort that is
            sent.
        shows_encrypted: whether the client asks for encrypted content.
        shows_sources: whether the client asks for the pages that a search finds.
        json: the JSON of all other fields of the response that repeat the request, with
            OpenAI's defaults; without the braces around them. The JSON can have
            megabytes, so it is encoded only once, when the request is decoded.
    """

    model: str
    effort: str | None
    summary: str | None
    store: bool
    background: bool
    previous_response_id: str | None
    conversation_id: str | None
    shows_encrypted: bool
    shows_sources: bool
    json: bytes

    @property
    def continued_param(self) -> str:
        """The field of the request that names the conversation."""
        if self.conversation_id is not None:
            return "conversation"
        return "previous_response_id"
