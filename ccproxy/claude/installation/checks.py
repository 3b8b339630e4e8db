"""The checks of body mode: one function for each behaviour of the contract.

A check returns the difference that it found as one clause, or an empty text if there is
none. All checks ask the same process, to find out whether a question contains anything
of the questions before it.

Source: docs/claude-cli-protocol.md, "Body mode", "One question" and "Ends".
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from attrs import evolve

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.installation.bench import (
    CHECK_BETA,
    TOO_LONG_MESSAGE,
    Bench,
    Exchange,
    ScriptedAnswer,
)
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.core.stream import Failed, UpstreamRetry

Check: TypeAlias = Callable[[Bench], Coroutine[Any, Any, str]]

_CONTENT = "The content of a file that a question names."
_FEW_TOKENS = 10
NO_OPTION = "it does not know the option"


def _question(number: int, model: str) -> ComposedBody:
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": f"first {number}"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "second"}]},
            {"role": "user", "content": [{"type": "text", "text": f"third {number}"}]},
        ],
        "tools": [
            {
                "name": f"tool_{number}",
                "description": "Is never called.",
                "input_schema": {"anyOf": [{"type": "object"}]},
            }
        ],
        "tool_choice": {"type": "none"},
        "max_tokens": 1000 + number,
        "stop_sequences": [f"stop {number}"],
        "thinking": {"type": "disabled"},
    }
    return ComposedBody(
        model=model,
        system=f"This is question {number} of a check of the CLI.",
        effort=None,
        first_text=f"first {number}",
        json=msgspec.json.encode(body),
    )


QUESTIONS = (_question(1, "claude-opus-4-6"), _question(2, "claude-sonnet-4-5"))


def _plain(text: str, **fields: object) -> ComposedBody:
    """A question with these fields; the CLI makes the messages if they are not set."""
    return ComposedBody(
        model="claude-sonnet-4-5",
        system="This is a check of the CLI.",
        effort=None,
        first_text=text,
        json=msgspec.json.encode(fields),
    )


def _set(text: str, **fields: object) -> ComposedBody:
    """A question whose messages are set."""
    messages = [{"role": "user", "content": text}]
    return _plain(text, messages=messages, max_tokens=_FEW_TOKENS, **fields)


# Compare `QUESTIONS` with the requests that arrive. Pure.


def difference_of_bodies(bodies: Sequence[Mapping[str, Any]]) -> str:
    """The first key of `QUESTIONS` that has not arrived as it was set."""
    for question, body in zip(QUESTIONS, bodies, strict=False):
        wanted: Mapping[str, Any] = msgspec.json.decode(question.json)
        for name, value in wanted.items():
            if body.get(name) != value:
                return f"`{name}` differs"
    return ""


def difference_of_models(bodies: Sequence[Mapping[str, Any]]) -> str:
    """The difference if the model of a question has not arrived."""
    for question, body in zip(QUESTIONS, bodies, strict=False):
        if body.get("model") != question.model:
            return "the model differs"
    return ""


def difference_of_systems(bodies: Sequence[Mapping[str, Any]]) -> str:
    """The difference if a system prompt has not arrived, or another question's has."""
    for question, body in zip(QUESTIONS, bodies, strict=False):
        system = body.get("system")
        texts = _texts(system if isinstance(system, list) else [])
        # The CLI puts its own blocks before the question's system prompt.
        if not texts or texts[-1] != question.system:
            return "the system prompt differs"
        if any(other.system in text for other in QUESTIONS for text in texts[:-1]):
            return "a system prompt arrives twice"
    return ""


def _texts(blocks: Sequence[Any]) -> Sequence[str]:
    return [str(b.get("text", "")) if isinstance(b, dict) else "" for b in blocks]


# The checks.


async def _two(bench: Bench) -> Sequence[Exchange]:
    """Both questions; raises the error of an answer that failed."""
    asked = [await bench.ask_once(q.first_text, q) for q in QUESTIONS]
    for exchange in asked:
        _ = exchange.finished
    return asked


async def _bodies(bench: Bench) -> Sequence[Mapping[str, Any]]:
    """The first request of each of the two questions."""
    return [exchange.bodies[0] for exchange in await _two(bench) if exchange.bodies]


async def _own(bench: Bench) -> tuple[str, Exchange]:
    """Ask a question for which nothing is set; returns its text and the exchange."""
    path = Path(bench.launch.environment["HOME"], "ccproxy-check.txt")
    # Too small to block the reactor.
    path.write_text(_CONTENT)
    text = f"/compact @{path}"
    await _two(bench)
    return text, await bench.ask_once("own", _plain(text))


async def merged_body(bench: Bench) -> str:
    """Every key of a body arrives as it was set."""
    return difference_of_bodies(await _bodies(bench))


async def model(bench: Bench) -> str:
    """Each question is sent to its own model."""
    return difference_of_models(await _bodies(bench))


async def system_prompt(bench: Bench) -> str:
    """Each question has its own system prompt, once."""
    return difference_of_systems(await _bodies(bench))


async def verbatim_text(bench: Bench) -> str:
    """A text with a command and a file's name arrives as it is."""
    text, exchange = await _own(bench)
    sent = [repr(body.get("messages")) for body in exchange.bodies]
    if any(_CONTENT in messages for messages in sent):
        return "a file that the text names was sent"
    if await settings_undone(bench):
        # The messages are those of another question.
        return ""
    if not sent and not await _bodies(bench):
        # No question arrives at all. `one_request` finds that.
        return ""
    if not sent or not all(text in messages for messages in sent):
        return "a text that begins with a command did not arrive"
    return ""


async def settings_undone(bench: Bench) -> str:
    """A question for which nothing is set has no fields of the question before."""
    _, exchange = await _own(bench)
    wanted: Mapping[str, Any] = msgspec.json.decode(QUESTIONS[-1].json)
    for body in exchange.bodies:
        for name in ("messages", "tools", "tool_choice", "max_tokens"):
            if body.get(name) == wanted[name]:
                return f"`{name}` of another question arrives"
    return ""


async def rewind(bench: Bench) -> str:
    """The process forgets each question, and can be asked again."""
    if not all(exchange.is_ready for exchange in await _two(bench)):
        return "a process cannot be asked again after its answer"
    _, exchange = await _own(bench)
    for body in () if await settings_undone(bench) else exchange.bodies:
        sent = repr(body.get("messages"))
        if any(question.first_text in sent for question in QUESTIONS):
            return "an earlier question arrives"
    return ""


async def one_request(bench: Bench) -> str:
    """A question is one request, even if its answer calls a tool."""
    asked = await _two(bench)
    count = sum(len(exchange.bodies) for exchange in asked)
    if count != len(QUESTIONS):
        return f"{len(QUESTIONS)} questions became {count} requests"
    tool = {"name": "tool_1", "input_schema": {"type": "object"}}
    exchange = await bench.ask(_set("call", tools=[tool]), ScriptedAnswer.CALL)
    return _difference_of_end(exchange, "tool_use")


async def interrupt(bench: Bench) -> str:
    """A process whose answer was abandoned can be asked again."""
    if not await bench.abandon(_set("interrupt")):
        return "an interrupted turn does not end"
    exchange = await bench.ask(_set("next"))
    return _difference_of_end(exchange, "end_turn")


async def end_max_tokens(bench: Bench) -> str:
    """An answer that ends at ``max_tokens`` is one request."""
    exchange = await bench.ask(_set("long"), ScriptedAnswer.MAX_TOKENS)
    return _difference_of_end(exchange, "max_tokens")


async def end_refusal(bench: Bench) -> str:
    """A refusal is one request."""
    exchange = await bench.ask(_set("refuse"), ScriptedAnswer.REFUSAL)
    return _difference_of_end(exchange, "refusal")


async def end_empty(bench: Bench) -> str:
    """An empty answer is one request."""
    exchange = await bench.ask(_set("nothing"), ScriptedAnswer.EMPTY)
    return _difference_of_end(exchange, "end_turn")


async def retries(bench: Bench) -> str:
    """A retry is announced, and has the same body."""
    exchange = await bench.ask(_set("again"), ScriptedAnswer.OVERLOADED)
    if not any(isinstance(event, UpstreamRetry) for event in exchange.events):
        return "a retry is not announced"
    if not exchange.bodies:
        return "the question does not arrive"
    first, *others = [_without_cli_fields(body) for body in exchange.bodies]
    if others != [first]:
        return "the retry differs, or there is none"
    return "" if exchange.is_ready else "the process is lost after a retry"


async def usage(bench: Bench) -> str:
    """An answer has the provider's token counts."""
    counts = (await _two(bench))[0].finished.usage
    if not counts.prompt_tokens or not counts.output_tokens:
        return "token counts are missing"
    return ""


async def cost(bench: Bench) -> str:
    """An answer has its cost."""
    dollars = (await _two(bench))[0].finished.cost_usd
    return "the cost is missing" if dollars is None else ""


async def error_log(bench: Bench) -> str:
    """An error has the provider's own message, not the CLI's."""
    if not bench.launch.has_error_log:
        return NO_OPTION
    exchange = await bench.ask(_set("too long"), ScriptedAnswer.TOO_LONG)
    if not isinstance(exchange.end, Failed):
        return "an error of the provider is not reported"
    if TOO_LONG_MESSAGE not in exchange.end.error.message:
        return "the error does not contain the provider's message"
    return ""


async def effort(bench: Bench) -> str:
    """Each question has its own effort."""
    for wanted in ("low", "medium"):
        question = evolve(_set("effort"), model=QUESTIONS[0].model, effort=wanted)
        exchange = await bench.ask(question)
        sent = [body.get("output_config") for body in exchange.bodies]
        if sent != [{"effort": wanted}]:
            return "the effort does not arrive"
    return ""


async def heartbeat(bench: Bench) -> str:
    """A control request that the CLI does not know is answered."""
    return "" if await bench.answers_ping() else "a ping is not answered"


async def betas(bench: Bench) -> str:
    """The betas of the environment are sent."""
    await bench.ask(_set("beta"))
    return "" if CHECK_BETA in bench.upstream.betas else "the betas do not arrive"


def catalogue(answer: InitializeAnswer) -> str:
    """The CLI lists its models, with their full ids."""
    if not answer.models:
        return "no models are listed"
    if not any(each.resolved_model for each in answer.models):
        return "no full ids are listed"
    return ""


def login_report(answer: InitializeAnswer) -> str:
    """The CLI reports its login."""
    account = answer.account
    return "" if account and account.source else "no login is reported"


def _difference_of_end(exchange: Exchange, reason: str) -> str:
    if isinstance(exchange.end, Failed):
        return f"the answer failed: {exchange.end.error.message}"
    count = len(exchange.bodies)
    if count != 1:
        return f"a question that ends with {reason} became {count} requests"
    if exchange.end.stop_reason != reason:
        return f"it ends with {exchange.end.stop_reason}, not {reason}"
    if not exchange.is_ready:
        return f"the process is lost after {reason}"
    return ""


def _without_cli_fields(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields that the proxy sets."""
    return {name: body.get(name) for name in ("model", "messages", "max_tokens")}


# Run in this order. The first checks decide how requests are sent.
CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        *(merged_body, model, system_prompt, settings_undone, rewind, verbatim_text),
        *(one_request, usage, cost, interrupt, end_max_tokens, error_log),
        *(effort, heartbeat, betas, end_refusal, end_empty, retries),
    )
}
AT_START: Mapping[str, Callable[[InitializeAnswer], str]] = {
    check.__name__: check for check in (catalogue, login_report)
}
