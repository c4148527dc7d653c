"""What is expected of a provider, one function each, in the order in which it is looked at.

A check returns what there is to say, or nothing; it raises :class:`Failed` or :class:`Skipped`.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gleitzeitd.conform.arena import Seen
from gleitzeitd.conform.driver import Driver, Failed, Sample, Skipped
from gleitzeitd.conform.samples import large, wrong
from gleitzeitd.errors import MalformedData, ProviderNotAvailable, ProviderOverloaded, TaskTimeout
from gleitzeitd.events import operations as o
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json, from_plain
from gleitzeitd.providers.schema import check_schema, problems

_PROTOCOL = re.compile(r"[^/\s]+/v\d+")
_SHOWN = 200
_LIMIT = 0.3
"""Seconds: a timeout that is soon over."""
_ELSEWHERE = (ProviderOverloaded.code, ProviderNotAvailable.code)
"""Codes after which the task goes to another provider."""

Look = Callable[[Driver], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One of them."""

    name: str
    expected: str
    look: Look


CHECKS: dict[str, Check] = {}
"""By name, in order."""


def check(name: str, expected: str) -> Callable[[Look], Look]:
    """Enter a check in the table."""

    def enter(look: Look) -> Look:
        CHECKS[name] = Check(name, expected, look)
        return look

    return enter


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


# --- being known ----------------------------------------------------------------------------------


@check("connect", "connects by websocket with the token in auth, and sends register_component first")
async def connect(it: Driver) -> str | None:
    record, seconds = it.arena.record, it.settings.start_seconds
    there = await record.until(lambda: it.arena.provider() is not None or it.ended(), seconds)
    member = it.arena.provider()
    if not there or member is None:
        causes = sorted({**it.arena.refused()})
        why = (
            it.nothing(f"no provider registered within {seconds:g} s", 0) if not there else it.nothing("", 0)
        )
        raise Failed(why.strip("; ") + (f"; refused: {', '.join(causes)}" if causes else ""))
    it.component_id = member.component_id
    return member.component_id


@check("protocol", "sends register_protocol: a name like weather/v1, methods like weather/forecast, schemas")
async def protocol(it: Driver) -> str | None:
    seen = await it.event("register_protocol", 0)
    if seen is None:
        raise Failed(it.nothing("register_protocol did not come", 0))
    it.protocol = found = from_plain(r.RegisterProtocol, seen.body).protocol
    if not _PROTOCOL.fullmatch(found.name):
        raise Failed(f"the protocol is called {found.name!r}")
    if not found.methods:
        raise Failed(f"{found.name} has no methods")
    prefix = found.name.partition("/")[0] + "/"
    for name, method in found.methods.items():
        if not name.startswith(prefix) or name == prefix:
            raise Failed(f"a method is called {name!r}, not {prefix}...")
        try:
            check_schema(method.parameters)
            check_schema(method.returns)
        except MalformedData as problem:
            raise Failed(f"{name}: {problem}") from None
    return f"{found.name}: {', '.join(found.methods)}"


@check("provider", "sends register_provider for that protocol, with a capacity of at least 1")
async def provider(it: Driver) -> str | None:
    seen = await it.event("register_provider", 0)
    if seen is None:
        raise Failed(it.nothing("register_provider did not come", 0))
    said = from_plain(r.RegisterProvider, seen.body)
    if said.protocol != it.protocol.name:
        raise Failed(f"it serves {said.protocol!r}, and has declared {it.protocol.name!r}")
    if said.capacity < 1:
        raise Failed(f"its capacity is {said.capacity}")
    return f"capacity {said.capacity}"


@check("initialize", "registers protocol and provider again when a registry says initialize")
async def initialize(it: Driver) -> str | None:
    await _initialized(it)
    return None


async def _initialized(it: Driver) -> None:
    since, refusals = it.mark(), len(it.arena.record.refusals)
    it.arena.tell(Role.PROTOCOL_REGISTRY, r.Initialize())
    for name in ("register_protocol", "register_provider"):
        seen = await it.event(name, since)
        if seen is None:
            raise Failed(it.nothing(f"{name} did not come after initialize", refusals))
        if name == "register_provider" and seen.body.get("capacity", 0) < 1:
            raise Failed("it registered with capacity 0 after initialize")


@check("health", 'answers health_check with health_status: health "ok"')
async def health(it: Driver) -> str | None:
    await _well(it)
    return None


async def _well(it: Driver) -> Seen:
    since, refusals = it.mark(), len(it.arena.record.refusals)
    it.arena.tell(Role.PROTOCOL_REGISTRY, r.HealthCheck())
    seen = await it.event("health_status", since)
    if seen is None:
        raise Failed(it.nothing("health_status did not come", refusals))
    if seen.body["health"] != "ok":
        raise Failed(f"health is {_shown(seen.body['health'])!r}")
    return seen


# --- calls ----------------------------------------------------------------------------------------


@check("call", "answers execute_method with method_result, and the result fits the method's schema")
async def call(it: Driver) -> str | None:
    for one in it.samples():
        await _works(it, one)
    return ", ".join(one.method for one in it.samples())


async def _works(it: Driver, one: Sample) -> None:
    task, since = it.task("call"), it.mark()
    it.order(task, one)
    answer = await it.answer(task, since)
    if answer.name != "method_result":
        raise Failed(f"{one.method} {_shown(one.parameters)}: {_shown(answer.body['error'])}")
    method = it.protocol.methods.get(one.method)
    found = problems(method.returns, answer.body.get("result")) if method and method.returns else []
    if found:
        raise Failed(f"{one.method}: the result breaks its schema: {found[0].message}")
    it.kept[task] = (one, _said(answer))


def _said(answer: Seen) -> Json:
    """What must be the same when it is said again."""
    return {key: answer.body.get(key) for key in ("result", "error", "started_at")}


@check("parallel", "answers two calls at once, each under its own workflow_id, task_id and attempt")
async def parallel(it: Driver) -> str | None:
    one = it.samples()[0]
    tasks, since = [it.task("parallel"), it.task("parallel")], it.mark()
    for task in tasks:
        it.order(task, one)
    for task in tasks:
        await it.answer(task, since)
    await it.quiet()
    for task in tasks:
        if len(it.answers(task, since)) > 1:
            raise Failed(f"{len(it.answers(task, since))} answers for one call")
    return None


@check("wrong-parameters", "answers parameters that break the schema with provider_error, not retryable")
async def wrong_parameters(it: Driver) -> str | None:
    for one in it.samples():
        method = it.protocol.methods.get(one.method)
        value = wrong(method.parameters, one.parameters) if method else None
        if value is not None:
            answer = await it.ask("wrong", Sample(one.method, value))
            return _in_vain(answer, f"{one.method} {_shown(value)}")
    raise Skipped("the schema of the parameters admits anything")


@check("unknown-method", "answers a method that it does not have with provider_error, not retryable")
async def unknown_method(it: Driver) -> str | None:
    name = it.protocol.name.partition("/")[0] + "/no-such-method"
    return _in_vain(await it.ask("unknown", Sample(name, {})), name)


def _in_vain(answer: Seen, what: str) -> str:
    if answer.name != "provider_error":
        raise Failed(f"{what} was answered with {_shown(answer.body.get('result'))!r}")
    error = answer.body["error"]
    if error["code"] >= 0 or not error["name"] or not error["message"]:
        raise Failed(f"an error needs a negative code, a name and a message, not {_shown(error)}")
    if error.get("retryable"):
        raise Failed("the error is marked as retryable: the task would be tried again in vain")
    return f"{error['name']}: {_shown(error['message'])}"


@check("repeat", "runs a call once however often it is asked for, and repeats the answer")
async def repeat(it: Driver) -> str | None:
    for one in it.samples():
        task, since = it.task("repeat"), it.mark()
        it.order(task, one)
        it.order(task, one)
        first = await it.answer(task, since)
        await it.quiet()
        again = it.mark()
        it.order(task, one)
        await it.answer(task, again)
        await it.quiet()
        _same(it, task, since, _said(first))
        if len(it.answers(task, again)) > 1:
            raise Failed(f"{len(it.answers(task, again))} answers to one repeated question")
    return None


def _same(it: Driver, task: str, since: int, said: Json) -> None:
    for each in it.answers(task, since):
        if _said(each) != said:
            raise Failed(f"it has run again: first {_shown(said)}, then {_shown(_said(each))}")


@check("cancel", "ends a running call at cancel_method, and answers with provider_error")
async def cancel(it: Driver) -> str | None:
    one = it.slow_sample()
    task, since = it.task("cancel"), it.mark()
    it.order(task, one)
    await it.quiet()
    if it.answers(task, since):
        raise Skipped(f"{one.method} has ended before it could be cancelled")
    it.cancel(task)
    answer = await it.answer(task, since)
    if answer.name != "provider_error":
        raise Failed("it was answered with method_result")
    again = it.mark()
    it.cancel(task)
    await it.answer(task, again)
    _same(it, task, since, _said(answer))
    return f"{answer.body['error']['name']}"


@check("timeout", "ends a call when its timeout is over, and answers with TASK_TIMEOUT")
async def timeout(it: Driver) -> str | None:
    one = it.slow_sample()
    task, since = it.task("timeout"), it.mark()
    it.order(task, one, timeout=_LIMIT)
    answer = await it.answer(task, since)
    if answer.name != "provider_error":
        raise Failed("it was answered with method_result")
    error = answer.body["error"]
    if error["code"] != TaskTimeout.code:
        wanted = f"{TaskTimeout.code} {TaskTimeout.name}"
        raise Failed(f"it was answered with {error['code']} {error['name']}, not {wanted}")
    return None


@check("cancel-first", "answers cancel_method for a call that has not come, and does not run it then")
async def cancel_first(it: Driver) -> str | None:
    task, since = it.task("early"), it.mark()
    it.cancel(task)
    answer = await it.answer(task, since)
    if answer.name != "provider_error":
        raise Failed("it was answered with method_result")
    again = it.mark()
    it.order(task, it.samples()[0])
    late = await it.answer(task, again)
    if late.name != "provider_error":
        raise Failed("the call was run although it was cancelled before")
    return None


@check("epoch", "refuses a call for another epoch than it has registered with, so that others get it")
async def epoch(it: Driver) -> str | None:
    mine = it.epoch()
    if not mine:
        raise Skipped("it has registered without an epoch; then none is asked for")
    answer = await it.ask("epoch", it.samples()[0], epoch=mine + 1)
    return _handed_on(answer, "a call for another process")


def _handed_on(answer: Seen, what: str) -> str:
    if answer.name != "provider_error":
        raise Failed(f"{what} was run")
    error = answer.body["error"]
    if error["code"] not in _ELSEWHERE:
        wanted = f"{ProviderOverloaded.code} {ProviderOverloaded.name}"
        raise Failed(f"{what} was answered with {error['code']} {error['name']}, not {wanted}")
    return f"{error['name']}: {_shown(error['message'])}"


# --- what may come --------------------------------------------------------------------------------


@check("large", "answers a call with a parameter of 1 MiB, and stays connected")
async def large_value(it: Driver) -> str | None:
    size, connection = it.settings.large_bytes, it.member().connection
    for one in it.samples():
        method = it.protocol.methods.get(one.method)
        value = large(method.parameters, one.parameters, size) if method else None
        if value is not None:
            break
    else:
        name = it.protocol.name.partition("/")[0] + "/no-such-method"
        one, value = Sample(name, {}), {"large": "x" * size}
    await it.ask("large", Sample(one.method, value))
    if it.member().connection != connection:
        raise Failed("it has lost the connection")
    return one.method


@check("unknown-event", "takes no harm from an event that it does not know")
async def unknown_event(it: Driver) -> str | None:
    member = it.member()
    it.arena.say(member, "event_of_a_later_version", {"_message_id": "1", "anything": [1, {"a": None}]})
    await _well(it)
    if it.member().connection != member.connection:
        raise Failed("it has lost the connection")
    return None


@check("drain", "at drain_component takes nothing new until that is undone; or takes no harm from it")
async def drain(it: Driver) -> str | None:
    since, member = it.mark(), it.member()
    it.arena.tell(Role.CLIENT, o.DrainComponent(), member.component_id)
    seen = await it.event("component_draining", since)
    if seen is None:
        await _works(it, it.samples()[0])
        return "it does not know drain_component, which is allowed: it can only be stopped"
    if not seen.body["draining"]:
        raise Failed("draining is false")
    said = _handed_on(await it.ask("drained", it.samples()[0]), "a call after drain_component")
    since = it.mark()
    it.arena.tell(Role.CLIENT, o.DrainComponent(undo=True), member.component_id)
    seen = await it.event("component_draining", since)
    if seen is None or seen.body["draining"]:
        raise Failed("drain_component with undo was not answered with draining: false")
    await _works(it, it.samples()[0])
    return said


@check("shutdown", "at shutdown takes nothing new, finishes what runs, and works again after initialize")
async def shutdown(it: Driver) -> str | None:
    it.arena.tell(Role.PROTOCOL_REGISTRY, r.Shutdown(reason="a trial"), it.member().component_id)
    await it.quiet()
    try:
        return _handed_on(await it.ask("shutdown", it.samples()[0]), "a call after shutdown")
    finally:
        await _initialized(it)
        await _works(it, it.samples()[0])


# --- coming back ----------------------------------------------------------------------------------


@check("reconnect", "comes back and registers all of it again when the connection is cut; answers are kept")
async def reconnect(it: Driver) -> str | None:
    since, member = it.mark(), it.member()
    it.arena.cut(member)
    await it.registered(since, other_than=member.connection)
    for task, (one, said) in list(it.kept.items())[:1]:
        again = it.mark()
        it.order(task, one)
        await it.answer(task, again)
        _same(it, task, again, said)
    await _works(it, it.samples()[0])
    return None


@check("hub-restart", "comes back when the hub was away for a while")
async def hub_restart(it: Driver) -> str | None:
    since = it.mark()
    await it.arena.restart(it.settings.away_seconds)
    await it.registered(since)
    await _works(it, it.samples()[0])
    return None


@check("accepted", "sends nothing that the hub refuses")
async def accepted(it: Driver) -> str | None:
    found = list(dict.fromkeys(it.arena.record.refusals))
    if found:
        raise Failed("; ".join(_shown(each) for each in found[:5]))
    return None


@check("end", "ends at SIGTERM")
async def end(it: Driver) -> str | None:
    if it.process is None:
        raise Skipped("it was not started here")
    it.signal(signal.SIGTERM)
    try:
        code = await asyncio.wait_for(it.process.wait(), it.settings.seconds)
    except TimeoutError:
        raise Failed(f"it is still there {it.settings.seconds:g} s later") from None
    return f"exit code {code}" if code >= 0 else "ended by the signal"
