"""Compiles JSON Schemas and checks instances in helper processes, off the reactor.

`SchemaChecker` owns the queue of jobs and the helpers. A helper has one job at a time.
While a job waits, at least one helper runs or starts.

States of a job:

========  =========================================================================
WAITING   the job is in the queue, until a helper is idle
RUNNING   a helper has the job; WAITING again, but only once, if the helper ends early
DONE      the answer or error was delivered, or the job was cancelled
========  =========================================================================
"""

from collections import deque
from contextlib import suppress
from enum import Enum, auto

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger

from ccproxy.claude.schemas.helper_messages import (
    HelperAnswer,
    HelperOutcome,
    HelperRequest,
)
from ccproxy.claude.schemas.helper_process import (
    HelperExit,
    HelperLimits,
    HelperProcess,
    HelperState,
)
from ccproxy.claude.schemas.text_limits import (
    INSTANCE_LIMITS,
    SCHEMA_LIMITS,
    TextLimits,
)
from ccproxy.core.errors import (
    Cause,
    CCProxyError,
    InvalidRequest,
    Overloaded,
    SchemaNotSatisfied,
    ShuttingDown,
)

# A job that two helpers did not finish fails.
_MOST_TRIES = 2
_NO_HELPER = "the server cannot start a process that checks JSON Schemas now"


@frozen(kw_only=True)
class CheckerLimits:
    """The limits of all work on clients' schemas.

    Attributes:
        helpers: the largest number of processes; each takes about 20 MB.
        waiting: the largest number of jobs in the queue.
        compile_seconds: time limit for one schema.
        check_seconds: time limit for one instance.
        helper: limits of each process.
        schema: limits of the text of a schema.
        instance: limits of the text of an instance.
    """

    helpers: int = 1
    waiting: int = 200
    compile_seconds: float = 1.0
    check_seconds: float = 1.0
    helper: HelperLimits = field(factory=HelperLimits)
    schema: TextLimits = SCHEMA_LIMITS
    instance: TextLimits = INSTANCE_LIMITS


class _JobState(Enum):
    WAITING = auto()
    RUNNING = auto()
    DONE = auto()


class _Fault(Enum):
    """Why a job ended without an answer."""

    TOO_LONG = auto()
    CRASH = auto()


@define(eq=False)
class _Job:
    """One request to a helper. `done` fires with an answer or a fault."""

    line: bytes
    seconds: float
    done: "Deferred[HelperAnswer | _Fault]"
    state: _JobState = _JobState.WAITING
    tries: int = 0

    def end(self, outcome: "HelperAnswer | _Fault | CCProxyError") -> None:
        """Deliver the outcome; a second call does nothing."""
        if self.state is _JobState.DONE:
            return
        self.state = _JobState.DONE
        if isinstance(outcome, CCProxyError):
            self.done.errback(outcome)
        else:
            self.done.callback(outcome)


class _CheckerState(Enum):
    OPEN = auto()
    CLOSED = auto()


@define(eq=False)
class SchemaChecker:
    """Compiles JSON Schemas and checks instances; the first use starts a helper."""

    _spawner: IReactorProcess
    _clock: IReactorTime
    _limits: CheckerLimits = field(factory=CheckerLimits)
    _state: _CheckerState = field(default=_CheckerState.OPEN, init=False)
    _waiting: "deque[_Job]" = field(factory=deque, init=False)
    # Every process that is not reaped yet, with its job.
    _helpers: "dict[HelperProcess, _Job | None]" = field(factory=dict, init=False)
    _ends: "list[Deferred[None]]" = field(factory=list, init=False)
    # The number of helpers in a row that ended before they were ready.
    _failed_starts: int = field(default=0, init=False)

    _log = Logger()

    @property
    def helpers(self) -> dict[int, HelperState]:
        """The state of each helper that is not reaped yet, by process id."""
        return {helper.pid: helper.state for helper in self._helpers}

    async def compile(self, schema: bytes, param: str) -> None:
        """Check that a schema can be used.

        Args:
            schema: JSON.
            param: the schema's path in the client's request.

        Raises:
            InvalidRequest: the schema cannot be used; ``param`` is the path of the
                faulty part.
            Overloaded: too many jobs wait, or no helper starts.
            ShuttingDown: the checker is closed.

        On cancel: the helper that runs the job is killed.
        """
        excess = self._limits.schema.excess(schema)
        if excess is not None:
            raise InvalidRequest(
                f"the JSON Schema `{param}` is too large: {excess}; make it smaller",
                param=param,
            )
        try:
            text = schema.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"`{param}` is not UTF-8", param=param) from None
        answer = await self._ask(text, None, self._limits.compile_seconds)
        if isinstance(answer, HelperAnswer) and answer.outcome is HelperOutcome.VALID:
            return
        if isinstance(answer, HelperAnswer) and answer.outcome is HelperOutcome.REFUSED:
            place = _join(param, answer.path)
            raise InvalidRequest(
                f"`{place}` cannot be used as JSON Schema: {answer.why}", param=place
            )
        why = self._fault(answer, "compiling", self._limits.compile_seconds)
        raise InvalidRequest(
            f"the JSON Schema `{param}` cannot be used: {why}; make it simpler, above "
            "all its regular expressions and `$ref`s",
            param=param,
        )

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        """Check an instance against a schema.

        Args:
            schema: JSON that `compile` accepted.
            instance: any text, such as a model's answer.

        Returns:
            None if the instance satisfies the schema; otherwise the problem, as a
            sentence without full stop that quotes no value of the instance.

        Raises:
            SchemaNotSatisfied: the check took too long or too much memory.
            Overloaded: too many jobs wait, or no helper starts.
            ShuttingDown: the checker is closed.

        On cancel: the helper that runs the job is killed.
        """
        excess = self._limits.instance.excess(instance)
        if excess is not None:
            raise SchemaNotSatisfied(
                f"the answer is too large to be checked against the schema: {excess}",
                cause=Cause.SCHEMA_NOT_CHECKED,
            )
        try:
            text = instance.decode()
        except UnicodeDecodeError:
            return "it is not JSON: it is not UTF-8"
        seconds = self._limits.check_seconds
        answer = await self._ask(schema.decode(), text, seconds)
        if isinstance(answer, HelperAnswer):
            if answer.outcome is HelperOutcome.VALID:
                return None
            if answer.outcome is HelperOutcome.INVALID:
                return answer.why
            if answer.outcome is HelperOutcome.REFUSED:
                raise SchemaNotSatisfied(
                    f"the answer cannot be checked: {answer.why} (`{answer.path}`)",
                    cause=Cause.SCHEMA_NOT_CHECKED,
                )
        raise SchemaNotSatisfied(
            "the answer could not be checked against the schema: "
            f"{self._fault(answer, 'checking', seconds)}; make the schema simpler, "
            "above all its regular expressions and `$ref`s",
            cause=Cause.SCHEMA_NOT_CHECKED,
        )

    async def close(self) -> None:
        """Fail all jobs with `ShuttingDown`, and kill all helpers.

        Returns when the helpers are reaped. On cancel: the helpers are killed anyway.
        """
        self._state = _CheckerState.CLOSED
        jobs = [job for job in self._helpers.values() if job is not None]
        for job in (*jobs, *self._waiting):
            job.end(ShuttingDown("this server is being stopped"))
        self._waiting.clear()
        for helper in self._helpers:
            self._helpers[helper] = None
            helper.dismiss()
        if self._helpers:
            end: Deferred[None] = Deferred(self._ends.remove)
            self._ends.append(end)
            await end

    async def _ask(
        self, schema: str, instance: str | None, seconds: float
    ) -> "HelperAnswer | _Fault":
        if self._state is _CheckerState.CLOSED:
            raise ShuttingDown("this server is being stopped")
        if len(self._waiting) >= self._limits.waiting:
            raise Overloaded(
                "too many JSON Schemas are waiting to be checked; try again later",
                retry_after_seconds=5,
                cause=Cause.CHECKER_BUSY,
            )
        line = msgspec.json.encode(HelperRequest(schema, seconds, instance))
        job = _Job(line, seconds, Deferred(lambda _: self._cancel(job)))
        self._waiting.append(job)
        self._dispatch()
        return await job.done

    def _cancel(self, job: _Job) -> None:
        state, job.state = job.state, _JobState.DONE
        if state is _JobState.WAITING:
            self._waiting.remove(job)
        for helper in [one for one, its in self._helpers.items() if its is job]:
            self._helpers[helper] = None
            helper.dismiss()
            self._keep_one()
        self._dispatch()

    def _dispatch(self) -> None:
        """Give jobs to idle helpers, and start helpers for the other jobs."""
        for helper in self._helpers:
            if self._waiting and helper.state is HelperState.IDLE:
                job = self._waiting.popleft()
                job.state = _JobState.RUNNING
                job.tries += 1
                self._helpers[helper] = job
                helper.ask(job.line, job.seconds)
        states = [helper.state for helper in self._helpers]
        starting = states.count(HelperState.STARTING)
        there = len(states) - states.count(HelperState.KILLED)
        wanted = min(len(self._waiting) - starting, self._limits.helpers - there)
        for _ in range(wanted):
            try:
                self._spawn()
            except OSError as error:
                if there == 0:
                    self._give_up(error.strerror or "")
                return
            there += 1

    def _keep_one(self) -> None:
        """Start a helper if the last one was killed because of its job.

        So the next job need not wait until a helper has started, which takes 0.17 s.
        """
        is_open = self._state is _CheckerState.OPEN
        if is_open and all(h.state is HelperState.KILLED for h in self._helpers):
            # If the process cannot be started now, the next job reports it.
            with suppress(OSError):
                self._spawn()

    def _spawn(self) -> None:
        helper = HelperProcess.spawn(
            self, self._spawner, self._clock, self._limits.helper
        )
        self._helpers[helper] = None

    def _give_up(self, why: str) -> None:
        """Fail all waiting jobs because no helper starts."""
        self._log.error("no helper for JSON Schemas can be started: {why}", why=why)
        self._failed_starts = 0
        jobs, self._waiting = list(self._waiting), deque()
        for job in jobs:
            job.end(
                Overloaded(
                    f"{_NO_HELPER}; try again later",
                    retry_after_seconds=5,
                    cause=Cause.MACHINE_FULL,
                )
            )

    def helper_idle(self, helper: HelperProcess) -> None:
        """Give a new helper its first job."""
        self._failed_starts = 0
        self._dispatch()

    def helper_answered(self, helper: HelperProcess, answer: HelperAnswer) -> None:
        """Deliver a job's answer, and give the helper the next job."""
        job, self._helpers[helper] = self._helpers[helper], None
        if job is not None:
            job.end(answer)
        if answer.outcome is HelperOutcome.MEMORY:
            self._keep_one()
        self._dispatch()

    def helper_lost(self, helper: HelperProcess, why: HelperExit) -> None:
        """Fail the lost helper's job, or queue the job again."""
        job, self._helpers[helper] = self._helpers[helper], None
        if job is not None and job.state is _JobState.RUNNING:
            if why is HelperExit.TOO_LONG:
                job.end(_Fault.TOO_LONG)
                self._keep_one()
            elif job.tries < _MOST_TRIES:
                job.state = _JobState.WAITING
                self._waiting.appendleft(job)
            elif why is HelperExit.NOT_BEGUN:
                job.end(
                    Overloaded(
                        f"{_NO_HELPER}; try again later", cause=Cause.MACHINE_FULL
                    )
                )
            else:
                job.end(_Fault.CRASH)
        if why is HelperExit.NOT_STARTED:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_TRIES:
                self._give_up(helper.last_words)
        self._dispatch()

    def helper_ended(self, helper: HelperProcess) -> None:
        """Forget a helper; after the last one, `close` returns."""
        del self._helpers[helper]
        if not self._helpers:
            ends, self._ends = self._ends, []
            for end in ends:
                end.callback(None)

    def _fault(
        self, answer: "HelperAnswer | _Fault", doing: str, seconds: float
    ) -> str:
        if isinstance(answer, HelperAnswer) and answer.outcome is HelperOutcome.MEMORY:
            most = self._limits.helper.memory_bytes // (1024 * 1024)
            return f"{doing} it takes more than {most} MB of memory"
        if isinstance(answer, HelperAnswer):
            return answer.why
        if answer is _Fault.TOO_LONG:
            return f"{doing} it takes longer than {seconds:g} seconds"
        return f"the process crashed while it was {doing} it"


def _join(param: str, path: str) -> str:
    return param + path if path.startswith("[") or not path else f"{param}.{path}"
