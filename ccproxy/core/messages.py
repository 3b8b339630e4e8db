"""The Messages API's request: messages, tools, settings.

The fields that the proxy has to understand are attributes. `ccproxy.core.blocks`
explains how each object keeps its JSON, and the attribute ``at``.

Source: ``MessageCreateParams`` of anthropic-python 2.14, stable and beta.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from attrs import define, field, frozen
from msgspec import UNSET, Raw, UnsetType

from ccproxy.core.blocks import Block, Parsed, text_block

_encode = msgspec.json.Encoder().encode

# Fields that are never sent from a client's request: the CLI sets them itself.
CLI_FIELDS = (
    *("metadata", "betas", "anthropic_beta", "anthropic_version"),
    *("diagnostics", "safeguards", "tags"),
)

Role: TypeAlias = str


@frozen(kw_only=True)
class CacheWish:
    """A client's options for the breakpoints of one request.

    Attributes:
        ttl: the time to live of the cached prefixes; None: the operator's choice.
        mode: ``implicit``: a breakpoint at the end besides the client's breakpoints, if
            the provider takes one more; ``explicit``: the client's breakpoints only;
            None: a breakpoint at the end only if the client sets no breakpoints.
        paths: the client's paths of these options; not compared.
    """

    ttl: Literal["5m", "1h"] | None = None
    mode: Literal["implicit", "explicit"] | None = None
    paths: tuple[str, ...] = field(default=(), eq=False)


@frozen
class Message:
    """A turn of the conversation.

    Attributes:
        role: ``user``, ``assistant`` or ``system``.
        content: a text, or blocks, unchanged.
        at: the message's path in the client's request; not compared.
        extra: all other fields.
    """

    role: Role
    content: str | tuple[Block, ...]
    at: str = field(default="", eq=False)
    extra: Mapping[str, Raw] = field(factory=dict)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The content as blocks: one block for a text, none for an empty text."""
        if isinstance(self.content, str):
            at = f"{self.at}.content" if self.at else ""
            return (text_block(self.content, at),) if self.content else ()
        return self.content


class ToolValue(msgspec.Struct, frozen=True):
    """An entry of ``tools``: a client's tool, or a tool that Anthropic defines."""

    name: str = ""
    type: str = "custom"
    description: str | None = None
    input_schema: Raw | UnsetType = UNSET
    strict: bool | None = None
    defer_loading: bool | None = None
    cache_control: Raw | UnsetType = UNSET


@frozen
class Tool(Parsed[ToolValue]):
    """A tool that the model may call.

    Attributes:
        renamed: the client's names of fields that have other names in the client's
            API, such as ``input_schema`` → ``parameters``; not compared.
    """

    renamed: Mapping[str, str] = field(factory=dict, eq=False)

    @classmethod
    def decode(
        cls, raw: bytes | Raw, at: str = "", renamed: Mapping[str, str] | None = None
    ) -> "Tool":
        """Decode a tool.

        Raises:
            msgspec.ValidationError: a field has a wrong type.
        """
        value = msgspec.json.decode(raw, type=ToolValue)
        return cls(value, bytes(raw), at, renamed or {})


def client_tool(
    name: str,
    description: str | None,
    input_schema: Mapping[str, Any] | Raw,
    *,
    at: str = "",
    renamed: Mapping[str, str] | None = None,
    **fields: object,
) -> Tool:
    """A tool that the client executes."""
    about: dict[str, object] = {"name": name}
    if description is not None:
        about["description"] = description
    about["input_schema"] = input_schema
    kept = {k: v for k, v in fields.items() if v is not UNSET}
    return Tool.decode(_encode({**about, **kept}), at, renamed)


class ToolChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """``tool_choice``; ``extra`` has the fields that this proxy does not know."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None
    extra: dict[str, Raw] = {}

    @property
    def must_call(self) -> bool:
        """Whether the answer must be a tool call."""
        return self.type in ("any", "tool")


class ThinkingValue(msgspec.Struct, frozen=True):
    """``thinking``: the type and the budget of the thinking, and how it is shown."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class OutputValue(msgspec.Struct, frozen=True):
    """``output_config``: the model's effort, and the format of its answer."""

    effort: str | None = None
    format: Raw | UnsetType = UNSET


class OutputFormat(msgspec.Struct, frozen=True):
    """``output_config.format``; ``schema`` is a JSON Schema."""

    type: str
    schema: Raw | UnsetType = UNSET


ThinkingConfig: TypeAlias = Parsed[ThinkingValue]
OutputConfig: TypeAlias = Parsed[OutputValue]


@frozen(kw_only=True)
class WebSearch:
    """A client's wish that the model may search the web.

    Attributes:
        at: the path of the field that asks for it.
        allowed_domains: the only domains to search; empty: all.
        blocked_domains: domains not to search.
        user_location: where the user is, as the Messages API's ``user_location``.
        max_uses: the largest number of searches; None: the provider's limit.
        settings: the paths of the fields that set the attributes above.
        unsent: the paths of further settings, which no tool of the provider has.
    """

    at: str
    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    user_location: Mapping[str, str] | None = None
    max_uses: int | None = None
    settings: tuple[str, ...] = ()
    unsent: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the wish and of all its settings."""
        return (self.at, *self.settings, *self.unsent)


@frozen(kw_only=True)
class MessagesRequest:
    """A request to the model.

    Attributes that the API does not have, or that differ from its field of that name:
        model: the model's name in the client's request; empty: the configured model.
        system: the whole system prompt; empty: none.
        max_tokens: None: the client sets no limit.
        shows_thinking: whether the client receives the model's thinking. If so, and the
            client sets no ``display``, ``summarized`` is sent.
        default_thinking: the meaning of an absent ``thinking``: ``cli``: Claude Code's
            default; ``api``: the Messages API's default.
        thinking_models: the full id of the model that made each thinking block in
            ``messages``, by the block's signature or data. A block that is not in it
            counts as made by the requested model.
        thinking_prefixes: a hash for each thinking block, by the same keys: the hash of
            everything that was before the block when the model made it. Without a hash,
            what is before the block counts as unchanged.
        web_searches: the wishes for web search; the backend grants the first one, or
            reports their fields as ignored.
        continues_pauses: whether an answer that the provider pauses (``pause_turn``) is
            continued by a further request. Otherwise the client continues it.
        may_be_kept: whether the answer may be stored on disk.
        cache: the client's options for the prompt cache.
        conversation: the id of the conversation, for counting; empty: it is computed by
            `ccproxy.core.conversation`.
        paths: the client's names of fields, such as ``output_config.format.schema`` →
            ``text.format.schema``; not compared.
        extra: every other top-level field, unchanged.
        size_bytes: the size of the client's body; 0: not known.
    """

    messages: tuple[Message, ...]
    model: str = ""
    system: str = ""
    max_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    shows_thinking: bool = True
    default_thinking: Literal["cli", "api"] = "cli"
    extra: Mapping[str, Raw] = field(factory=dict)
    thinking_models: Mapping[str, str] = field(factory=dict)
    thinking_prefixes: Mapping[str, str] = field(factory=dict)
    web_searches: tuple[WebSearch, ...] = ()
    continues_pauses: bool = False
    may_be_kept: bool = True
    cache: CacheWish = field(factory=CacheWish)
    conversation: str = field(default="", eq=False)
    paths: Mapping[str, str] = field(factory=dict, eq=False)
    size_bytes: int = field(default=0, eq=False)

    @property
    def effort(self) -> str | None:
        """The client's ``effort``."""
        return None if self.output_config is None else self.output_config.value.effort

    @property
    def output_format(self) -> OutputFormat | None:
        """The required format of the answer; None: any text.

        Raises:
            msgspec.ValidationError: ``output_config.format`` is not an object with a
            type.
        """
        form = UNSET if self.output_config is None else self.output_config.value.format
        if isinstance(form, UnsetType):
            return None
        return msgspec.json.decode(form, type=OutputFormat | None)

    @property
    def output_schema(self) -> bytes | None:
        """The JSON Schema of the required format; None: there is none.

        Raises:
            msgspec.ValidationError: as for `output_format`.
        """
        form = self.output_format
        if form is None or form.type != "json_schema":
            return None
        return None if isinstance(form.schema, UnsetType) else bytes(form.schema)


@define
class Adjustments:
    """The paths of a client's fields that are changed or have no effect.

    The decoder of the request and the composer of its body record the paths. Each path
    is recorded once. An empty path is not recorded: it belongs to a part of the request
    that the client has not sent.
    """

    _ignored: dict[str, None] = field(init=False, factory=dict)
    _adjusted: dict[str, None] = field(init=False, factory=dict)
    _web_searches: list[WebSearch] = field(init=False, factory=list)

    @property
    def ignored(self) -> tuple[str, ...]:
        """The paths of fields that have no effect, such as ``seed``."""
        return tuple(self._ignored)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """The paths of fields that are sent in another form."""
        return tuple(self._adjusted)

    @property
    def web_searches(self) -> tuple[WebSearch, ...]:
        """The wishes for web search."""
        return tuple(self._web_searches)

    def ignore(self, *paths: str) -> None:
        """Record fields that have no effect."""
        self._ignored |= dict.fromkeys(filter(None, paths))

    def adjust(self, *paths: str) -> None:
        """Record fields that are sent in another form."""
        self._adjusted |= dict.fromkeys(filter(None, paths))

    def is_adjusted(self, path: str) -> bool:
        """Whether `adjust` was called with a path."""
        return path in self._adjusted

    def search_web(self, wish: WebSearch) -> None:
        """Record a wish for web search."""
        self._web_searches.append(wish)

    def forget_searches(self) -> None:
        """Remove the wishes for web search, because no tool may be called."""
        self._web_searches.clear()
