"""The command line and the environment of the CLI.

`LaunchSpec` is a value that a test can compare. Only `exec_prefix` looks at the
machine.

Source: docs/claude-cli-protocol.md, "Start"; docs/twisted-notes.md,
"Child processes".
"""

import re
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from attrs import evolve, field, frozen
from msgspec import Raw

from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.config.mcp_names import is_mcp_tool, is_tool_of, mcp_tool
from ccproxy.core.errors import Cause, ClaudeUnavailable

# Makes the CLI write the provider's error messages to stderr. The CLI calls the option
# deprecated; a version without it would not start.
ERROR_LOG = "--debug-to-stderr"
# This variable marks every process of a session, even outside the process group.
MARKER = "CCPROXY_SESSION"


# The proxy's variables that the CLI gets: those by which a program finds its files, its
# language, the network and a login.
_ALLOWED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
        "DBUS_SESSION_BUS_ADDRESS",
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
        *("CLOUD_ML_REGION", "GOOGLE_APPLICATION_CREDENTIALS"),
    )
)
_ALLOWED_PREFIXES = ("LC_", "XDG_", "ANTHROPIC_", "CLAUDE_", "AWS_", "VERTEX_REGION_")
# Variables that the CLI does not get: the proxy or a request sets them, or they come
# from a Claude Code in which the proxy runs.
_DENIED = frozenset(
    (
        *("CLAUDE_BIN", "CLAUDE_MODEL"),
        # Each CLI would put its socket there; a killed CLI would leave it behind.
        "XDG_RUNTIME_DIR",
        *("CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT"),
        *("CLAUDE_CODE_EXTRA_BODY", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"),
        *("CLAUDE_CODE_EFFORT_LEVEL", "CLAUDE_CODE_TMPDIR", "ANTHROPIC_MODEL"),
        *("CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE", "CLAUDE_CODE_MAX_TURNS"),
    )
)
_BETAS = "ANTHROPIC_BETAS"
_EXTRA_BODY = "CLAUDE_CODE_EXTRA_BODY"
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode

# Few retries (after 0.5, 1, 2 and 4 s), so that a refusal reaches the client before the
# client's own timeout. A value of the operator takes precedence.
_DEFAULTS = {"CLAUDE_CODE_MAX_RETRIES": "4"}

# These values keep the CLI from adding anything to requests, and from sending anything
# else. They take precedence over all others.
_FIXED = {
    "ENABLE_TOOL_SEARCH": "false",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_AUTO_COMPACT": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    # With `--debug-to-stderr`: the provider's error messages, and no other output.
    "CLAUDE_CODE_DEBUG_LOG_LEVEL": "error",
    # These keep files of this machine out of prompts. The first also protects against
    # `@path`, in addition to `client_composed`.
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    # Up to 2.1.260 the CLI puts its own text before the system prompt, on
    # the provider's own host.
    "CLAUDE_CODE_DAPPER_LAGOON": "0",
    # Otherwise a client's tool named Bash makes the CLI add a note on git.
    "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS": "1",
    # The client gets a refusal as the answer. The CLI must not ask again, or ask
    # another model.
    "CLAUDE_CODE_DISABLE_REFUSAL_RETRY": "1",
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
}

# Native mode: the client's tools keep their names, and the CLI waits for the result
# of a call without a limit of its own.
_NATIVE_FIXED = {
    "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
    "MCP_TOOL_TIMEOUT": str(2**31 - 1),
}

# Body mode: for each question, the CLI sends exactly one request. If an answer is lost,
# the CLI repeats the request as a stream. The provider stores no conversation.
_BODY_FIXED = {
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_TETHER_LIVE": "0",
    # With this limit, the CLI sends no request until a question's settings remove it.
    "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE": "1",
}
# A tool call ends the turn; otherwise the CLI would answer the call by itself, with the
# same body, without end.
_BODY_ARGUMENTS = ("--max-turns", "1")

# Variables of real providers; the demo must not send a request to them.
_PROVIDER = re.compile(
    r"(?:ANTHROPIC|CLAUDE_CODE_USE|CLAUDE_CODE_OAUTH|AWS|GOOGLE|CLOUD_ML|VERTEX)_.*"
)


@frozen(kw_only=True)
class LaunchSpec:
    """The command line and the environment of one CLI process.

    Attributes:
        binary: the program.
        prefix: the programs that exec the CLI; see `exec_prefix`.
        cwd: an empty directory of the proxy.
        scratch: directory for the temporary folders of sessions.
        environment: all variables of the CLI.
        model: the model with which the CLI starts.
        agent_tools: the tools that the CLI may run by itself: Claude Code's own tools,
            and tools of the operator's MCP servers.
        operator_servers: the operator's MCP servers by name, with the configuration
            file of each.
        mcp_servers: names of tool servers whose tools may be called.
        arguments: further arguments.
        operator_body: fields that the operator adds to each request's body.
        has_error_log: whether the CLI knows the option `ERROR_LOG`.
        answers_pings: whether the CLI answers control requests that it does not know.
        binary_id: identifies the binary that is started; None: not known.
    """

    binary: Path
    prefix: tuple[str, ...]
    cwd: Path
    scratch: Path
    environment: Mapping[str, str] = field(repr=False)
    model: str
    agent_tools: tuple[str, ...] = ()
    operator_servers: Mapping[str, Path] = field(factory=dict)
    mcp_servers: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    operator_body: Mapping[str, Raw] = field(factory=dict, repr=False)
    has_error_log: bool = True
    answers_pings: bool = True
    binary_id: BinaryID | None = None

    @property
    def spawns_children(self) -> bool:
        """Whether the CLI may start programs."""
        return bool(self.agent_tools)

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole command line, which contains nothing of any request."""
        tools = ",".join(n for n in self.agent_tools if not is_mcp_tool(n))
        configs = tuple(map(str, self.operator_servers.values()))
        servers = (f"mcp__{name}" for name in self.mcp_servers)
        allowed = ",".join((*servers, *self.agent_tools))
        return (
            *self.prefix,
            str(self.binary),
            "--print",
            *("--input-format", "stream-json"),
            *("--output-format", "stream-json"),
            "--verbose",
            "--include-partial-messages",
            *("--model", self.model),
            *("--tools", tools),
            "--strict-mcp-config",
            *(("--mcp-config", *configs) if configs else ()),
            # In the default mode of some versions, the CLI sends a description of this
            # machine to the provider, which judges the model's tool calls.
            *("--permission-mode", "default"),
            *("--setting-sources", ""),
            "--no-session-persistence",
            *(("--allowedTools", allowed) if allowed else ()),
            *("--thinking-display", "summarized"),
            *((ERROR_LOG,) if self.has_error_log else ()),
            *self.arguments,
        )

    def for_body_mode(self, betas: Collection[str] = ()) -> "LaunchSpec":
        """The launch of a worker, for which the proxy composes the requests' bodies.

        Args:
            betas: further betas for the header of the worker's requests, besides the
                betas of the CLI and the operator.
        """
        named = self.environment.get(_BETAS, "").split(",")
        wanted = dict.fromkeys(b.strip() for b in (*named, *betas) if b.strip())
        header = {_BETAS: ",".join(wanted)} if wanted else {}
        return evolve(
            self,
            agent_tools=(),
            operator_servers={},
            arguments=(*self.arguments, *_BODY_ARGUMENTS),
            environment={**self.environment, **_BODY_FIXED, **header},
        )

    def for_native_mode(self, mcp_server: str) -> "LaunchSpec":
        """The launch of a process of native mode.

        Args:
            mcp_server: the name of the server that offers the client's tools.
        """
        return evolve(
            self,
            mcp_servers=(mcp_server,),
            environment={**self.environment, **_NATIVE_FIXED},
        )

    def without(self, tools: Collection[str]) -> "LaunchSpec":
        """The launch without tools that the client has under the same names.

        Without this, the CLI would run its own tool instead of the client's. An MCP
        server of the operator's is off if the name of a client's tool begins with
        ``mcp__SERVER__``.
        """
        servers = {
            name: path
            for name, path in self.operator_servers.items()
            if not any(tool.startswith(f"{mcp_tool(name)}__") for tool in tools)
        }
        off = self.operator_servers.keys() - servers.keys()
        left = tuple(
            name
            for name in self.agent_tools
            if _bare(name) not in tools and not any(is_tool_of(name, s) for s in off)
        )
        if left == self.agent_tools and not off:
            return self
        return evolve(self, agent_tools=left, operator_servers=servers)

    @property
    def has_limited_servers(self) -> bool:
        """Whether one of the operator's MCP servers has only some of its tools on."""
        return any(not self._is_on(mcp_tool(name)) for name in self.operator_servers)

    def hides(self, server: str, tool: str) -> bool:
        """Whether a tool of one of the operator's MCP servers is off."""
        name = mcp_tool(server)
        return not (self._is_on(name) or f"{name}__{tool}" in self.agent_tools)

    def _is_on(self, server: str) -> bool:
        return server in self.agent_tools or f"{server}__*" in self.agent_tools

    def marked(self, mark: str) -> "LaunchSpec":
        """The launch of one session; its processes have ``mark`` in their environment.

        Each session has its own folder for temporary files, because the CLI leaves some
        of them behind even after a normal end.
        """
        own = {MARKER: mark, "TMPDIR": str(self.temporary(mark))}
        return evolve(self, environment={**self.environment, **own})

    def temporary(self, mark: str) -> Path:
        """A session's temporary folder; short, because a socket's path is limited."""
        return self.scratch / mark[:8]


def _bare(tool: str) -> str:
    """The name of a tool without its rule, as in ``Bash(git:*)``."""
    return tool.partition("(")[0].strip()


def child_environment(
    environment: Mapping[str, str], *, demo_upstream: str | None = None
) -> dict[str, str]:
    """The environment of the CLI.

    Args:
        environment: the proxy's environment.
        demo_upstream: the base URL of the demo's Messages API. If it is given, no
            variable of a real provider is passed on.
    """
    child = {
        name: value
        for name, value in environment.items()
        if name not in _DENIED
        and (name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES))
    }
    if demo_upstream is not None:
        child = {n: v for n, v in child.items() if not _PROVIDER.fullmatch(n)}
        child["ANTHROPIC_BASE_URL"] = demo_upstream
        child["NO_PROXY"] = child["no_proxy"] = "127.0.0.1"
        child["ANTHROPIC_API_KEY"] = "demo"
    return {**_DEFAULTS, **child, **_FIXED}


def operator_body(environment: Mapping[str, str]) -> Mapping[str, Raw]:
    """The fields of ``CLAUDE_CODE_EXTRA_BODY``, which no CLI gets as a variable.

    Raises:
        ClaudeUnavailable: the value is not a JSON object.
    """
    text = environment.get(_EXTRA_BODY, "")
    if not text.strip():
        return {}
    try:
        return _decode_fields(text)
    except msgspec.DecodeError as error:
        raise ClaudeUnavailable(
            f"{_EXTRA_BODY} has to be a JSON object, which is merged into each request "
            f"to the model's provider: {error}",
            cause=Cause.INVALID_EXTRA_BODY,
        ) from None


def exec_prefix(cwd: Path, search_path: str | None) -> tuple[str, ...]:
    """The programs that change the directory and exec the CLI.

    On Linux, these are ``env --chdir`` (GNU coreutils), ``setpriv`` and ``setsid``
    (util-linux). ``setsid`` gives the CLI its own session, so that Ctrl-C does not
    reach it. ``setpriv`` makes the kernel send SIGTERM to the CLI when the proxy dies.
    Because of ``env``, Twisted can use ``posix_spawn``; its ``path=`` would need a
    fork. On other systems, a shell changes the directory, and a CLI whose proxy has
    died ends at the end of its stdin.
    """
    tools = [shutil.which(name, path=search_path) for name in _LINUX_TOOLS]
    if sys.platform.startswith("linux") and all(tools):
        env, setpriv, setsid = (str(tool) for tool in tools)
        return (env, f"--chdir={cwd}", setpriv, "--pdeathsig", "TERM", setsid)
    return ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(cwd))


_LINUX_TOOLS = ("env", "setpriv", "setsid")
