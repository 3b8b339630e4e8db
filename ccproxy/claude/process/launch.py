"""What is started, and how: binary, version, arguments, environment.

Values only, so that a test can compare them; the lookups of the outside world
(`find_claude`, `read_version`, `exec_prefix`) are functions of their own.

Source: docs/claude-cli-protocol.md, "Start"; docs/twisted-notes.md,
"Child processes".
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec
from attrs import evolve, field, frozen
from msgspec import Raw

from ccproxy.core.errors import ClaudeUnavailable

# `client_composed`, and a system prompt for a running process, work from 2.1.248 on;
# older ones read `@path` from the prompt. This is the oldest that the tests run.
OLDEST_VERSION = (2, 1, 251)

# Marks every process of a session, whatever becomes of its parents and groups.
MARKER = "CCPROXY_SESSION"

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# `claude --version` takes 10 ms; a minute is for a machine that is starting up.
_VERSION_SECONDS = 60

# Passed on as they are: what a program needs to find its files, its language,
# the network and a login. Everything else of our environment stays here.
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
# Ours, or the request's to say, or left by a Claude Code that started us.
_DENIED = frozenset(
    (
        *("CLAUDE_BIN", "CLAUDE_MODEL"),
        # Or each CLI has its socket there, and leaves it when it is killed.
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

# The CLI's own retries stay few, so that a refusal reaches the client while it
# still waits: 0.5, 1, 2 and 4 s. An operator's own value wins.
_DEFAULTS = {"CLAUDE_CODE_MAX_RETRIES": "4"}

# These make the CLI a clean pipe to the model; nobody's value wins over them.
_FIXED = {
    "ENABLE_TOOL_SEARCH": "false",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_AUTO_COMPACT": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    # A second lock on `@path`, and nothing of the host's in any prompt.
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    # Up to 2.1.260 the CLI has words of its own in front of the system prompt, on the
    # provider's own host.
    "CLAUDE_CODE_DAPPER_LAGOON": "0",
    # Or a client's tool named Bash would bring a note on git into the user's turn.
    "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS": "1",
    # A refusal is the answer: no second question, no other model.
    "CLAUDE_CODE_DISABLE_REFUSAL_RETRY": "1",
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
}

# What holds besides where the CLI is told of the client's tools: they have their own
# names, and we wait for the result of a call, for as long as the operator says.
_NATIVE_FIXED = {
    "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
    "MCP_TOOL_TIMEOUT": str(2**31 - 1),
}

# What holds besides where the request's body is set whole: each question is exactly one
# request. An answer that was lost is asked for again as a stream, and the provider
# keeps no conversation.
_BODY_FIXED = {
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_TETHER_LIVE": "0",
    # Nothing goes up until a question's own settings say otherwise.
    "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE": "1",
}
# A call of any tool ends the turn; without it the CLI would answer the call by itself,
# with the same body, without end.
_BODY_ARGUMENTS = ("--max-turns", "1")

# Whoever answers instead of Anthropic; the demo must not meet a real one.
_PROVIDER = re.compile(
    r"(?:ANTHROPIC|CLAUDE_CODE_USE|CLAUDE_CODE_OAUTH|AWS|GOOGLE|CLOUD_ML|VERTEX)_.*"
)


@frozen(kw_only=True)
class LaunchSpec:
    """One way to start the CLI.

    Attributes:
        prefix: programs that exec the CLI in place: private cwd, own session,
            SIGTERM when we die.
        cwd: an empty directory of ours.
        scratch: where each session gets a folder for temporary files.
        mcp_servers: names of the tool servers that are told to it; their tools may be
            called.
        arguments: further ones.
        operator_body: fields that the operator wants in each request's body.
    """

    binary: Path
    prefix: tuple[str, ...]
    cwd: Path
    scratch: Path
    environment: Mapping[str, str] = field(repr=False)
    model: str
    agent_tools: tuple[str, ...] = ()
    mcp_servers: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    operator_body: Mapping[str, Raw] = field(factory=dict, repr=False)

    @property
    def spawns_children(self) -> bool:
        """Whether the CLI may start programs of its own."""
        return bool(self.agent_tools)

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole command; nothing of any prompt is in it."""
        tools = ",".join(self.agent_tools)
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
            # In the mode that some versions begin with, up goes a description of this
            # machine, for the provider to judge what a tool would do.
            *("--permission-mode", "default"),
            *("--setting-sources", ""),
            "--no-session-persistence",
            *(("--allowedTools", allowed) if allowed else ()),
            *("--thinking-display", "summarized"),
            *self.arguments,
        )

    def for_bodies(self, betas: Collection[str] = ()) -> "LaunchSpec":
        """The same for processes whose requests' bodies are set whole.

        Args:
            betas: what their requests' header names, beside what the CLI and the
                operator want there.
        """
        named = self.environment.get(_BETAS, "").split(",")
        wanted = dict.fromkeys(b.strip() for b in (*named, *betas) if b.strip())
        header = {_BETAS: ",".join(wanted)} if wanted else {}
        return evolve(
            self,
            agent_tools=(),
            arguments=(*self.arguments, *_BODY_ARGUMENTS),
            environment={**self.environment, **_BODY_FIXED, **header},
        )

    def for_questions(self, mcp_server: str) -> "LaunchSpec":
        """The same for a process that is told its question, and runs its own loop.

        Args:
            mcp_server: the name of the server that has the client's tools.
        """
        return evolve(
            self,
            mcp_servers=(mcp_server,),
            environment={**self.environment, **_NATIVE_FIXED},
        )

    def without(self, tools: Collection[str]) -> "LaunchSpec":
        """The same, without those of Claude Code's own tools.

        The CLI would run its own tool, and not the client's of the same name.
        """
        left = tuple(name for name in self.agent_tools if _bare(name) not in tools)
        return self if left == self.agent_tools else evolve(self, agent_tools=left)

    def marked(self, mark: str) -> "LaunchSpec":
        """The same for one session, whose processes can be told by ``mark``.

        Its temporary files have a folder of their own: the CLI leaves some behind
        even when it ends in good order.
        """
        own = {MARKER: mark, "TMPDIR": str(self.temporary(mark))}
        return evolve(self, environment={**self.environment, **own})

    def temporary(self, mark: str) -> Path:
        """A session's folder; short, because a socket's path has to be."""
        return self.scratch / mark[:8]


def _bare(tool: str) -> str:
    """The name of a tool without the rule behind it, as in ``Bash(git:*)``."""
    return tool.partition("(")[0].strip()


def child_environment(
    environment: Mapping[str, str], *, demo_upstream: str | None = None
) -> dict[str, str]:
    """What the CLI gets to see of our environment.

    Args:
        environment: ours.
        demo_upstream: the base URL of a Messages API that needs no login; then
            nothing of a real provider is passed on.
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
    """The fields of ``CLAUDE_CODE_EXTRA_BODY``, which is never in a CLI's environment.

    Raises:
        ClaudeUnavailable: it is not a JSON object.
    """
    text = environment.get(_EXTRA_BODY, "")
    if not text.strip():
        return {}
    try:
        return _decode_fields(text)
    except msgspec.DecodeError as error:
        raise ClaudeUnavailable(
            f"{_EXTRA_BODY} has to be a JSON object, which is merged into each request "
            f"to the model's provider: {error}"
        ) from None


@frozen
class ClaudeBinary:
    """A CLI, and which of the three places it was found in."""

    binary: Path
    place: str


def find_claude(explicit: Path | None, search_path: str | None) -> Path:
    """Find the CLI; see `locate_claude`."""
    return locate_claude(explicit, search_path).binary


def locate_claude(explicit: Path | None, search_path: str | None) -> ClaudeBinary:
    """Find the CLI: the one named, else on PATH, else the wheel's.

    Raises:
        ClaudeUnavailable: there is none; says how to get one.
    """
    if explicit is not None:
        # A name alone may be a file beside us, or a program on PATH.
        beside = shutil.which(explicit.absolute())
        found = beside or shutil.which(str(explicit), path=search_path)
        if found is None:
            raise ClaudeUnavailable(
                f"--claude-bin: {explicit} is not an executable file"
            )
        return ClaudeBinary(Path(found).absolute(), "by --claude-bin")
    found = shutil.which("claude", path=search_path)
    if found is not None:
        return ClaudeBinary(Path(found).absolute(), "on PATH")
    bundled = _bundled_claude()
    if bundled is not None:
        return ClaudeBinary(bundled, "in the wheel claude-agent-sdk")
    raise ClaudeUnavailable(
        "the claude CLI was not found: install it, or `pip install 'ccproxy[claude]'`, "
        "or name it with --claude-bin"
    )


def _bundled_claude() -> Path | None:
    spec = find_spec("claude_agent_sdk")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "_bundled" / "claude"
        if binary.is_file():
            return binary
    return None


def read_version(binary: Path) -> str:
    """Ask the CLI for its version, such as ``2.1.330``; blocks for about 10 ms.

    Raises:
        ClaudeUnavailable: it does not run, or says something else.
    """
    try:
        done = subprocess.run(  # noqa: S603
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClaudeUnavailable(f"{binary} does not run: {error}") from None
    match = _VERSION.search(done.stdout.decode("utf-8", "replace"))
    if match is None:
        raise ClaudeUnavailable(f"{binary} --version tells no version; is it the CLI?")
    return match[0]


def check_version(version: str) -> None:
    """Refuse a CLI that is too old to be safe.

    Raises:
        ClaudeUnavailable: says why, and how to update.
    """
    match = _VERSION.search(version)
    if match is None or tuple(map(int, match.groups())) < OLDEST_VERSION:
        raise too_old(version)


def too_old(version: str) -> ClaudeUnavailable:
    """Why a CLI is not used; an empty ``version``: it does not tell."""
    oldest = ".".join(map(str, OLDEST_VERSION))
    what = f"version {version}" if version else "of a version that it does not tell"
    return ClaudeUnavailable(
        f"the claude CLI is {what}; ccproxy needs {oldest} or newer, because older "
        "ones read local files that a prompt names (@path). Update it with `claude "
        "update` or `pip install -U claude-agent-sdk`"
    )


def exec_prefix(cwd: Path, search_path: str | None) -> tuple[str, ...]:
    """Programs that put the CLI into its place and exec it there.

    On Linux ``env --chdir`` (GNU coreutils), ``setpriv`` and ``setsid``
    (util-linux): its own session, so that Ctrl-C here does not reach it; SIGTERM
    for it when we die, however we die. Done this way Twisted can use
    ``posix_spawn``: a ``path=`` of its own would mean a fork. Elsewhere a shell
    changes the directory, and the end of its stdin is what ends the CLI.
    """
    tools = [shutil.which(name, path=search_path) for name in _LINUX_TOOLS]
    if sys.platform.startswith("linux") and all(tools):
        env, setpriv, setsid = (str(tool) for tool in tools)
        return (env, f"--chdir={cwd}", setpriv, "--pdeathsig", "TERM", setsid)
    return ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(cwd))


_LINUX_TOOLS = ("env", "setpriv", "setsid")
