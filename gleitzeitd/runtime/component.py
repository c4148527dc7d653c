"""A component in an event loop: one machine, its link, and a supervised connection to every hub.

Everything that happens to the machine passes one inbox, and is handled in turns, which await nothing between
the decode of an event and its last action: packets, expired timers, finished calls, wishes from outside,
connections that come and go. Handlers of Socket.IO only put into the inbox.

A connection is made anew whenever it ends, for whatever reason, with a new Socket.IO client each time: the
library's own reconnection does not survive a hub that freezes or disconnects us. An exception in a machine
ends ``run``, and thereby the process; systemd starts it anew, and the ledger knows what was in flight.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from gleitzeitd.errors import (
    GleitzeitError,
    HubUnreachable,
    MalformedEvent,
    TlsFailed,
    UnknownEvent,
)
from gleitzeitd.events import Envelope
from gleitzeitd.machines.base import Call, CancelCall, CancelTimer, Effects, Machine, Note, SetTimer
from gleitzeitd.machines.link import Action, Actions, Identity, Leave, Link, Refused, Registered, Transmit
from gleitzeitd.machines.narrator import Narrator
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json
from gleitzeitd.runtime import health, journal
from gleitzeitd.runtime.clock import monotonic, utc_now
from gleitzeitd.runtime.connection import (
    Connection,
    HubLink,
    Intake,
    LinkSettings,
    Size,
    read,
    size_of,
    unpacked,
)
from gleitzeitd.runtime.performer import Performer
from gleitzeitd.runtime.refusals import refused_as
from gleitzeitd.runtime.socketio_client import SocketIo
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tls import Trust, trust_in

log = logging.getLogger(__name__)

TURN = 0.02
"""Seconds after which others may run, if there is still something in the inbox."""
FLUSH = 1.0
"""Seconds for what is said last to reach the wire."""
SAMPLE = 10.0
"""Seconds between two looks at the process's own health."""
STUCK = 10.0
"""Seconds without a turn, with something in the inbox, that mean something is wrong."""
COMPLAINTS = 1000
"""Names of events remembered, to complain once about each."""

Input = Callable[[float, str], Actions]
"""Something that has happened: told the two times, it tells the link, and hands back what is to be done."""


class Component:
    """Runs one machine; see the module."""

    def __init__(
        self,
        machine: Machine,
        identity: Identity,
        *,
        hub_urls: Sequence[str],
        token: str | None,
        performer: Performer | None = None,
        settings: LinkSettings | None = None,
        trust: Trust | None = None,
    ) -> None:
        """``hub_urls`` stands for those in the settings. Without ``trust``, hubs that speak TLS have to be
        of a CA that this host knows.
        """
        self.identity = identity
        narrated = machine if identity.role is Role.CLIENT else Narrator(machine)
        self.link = Link(narrated, identity, _new_id)
        self._machine = machine
        self._performer = performer
        self._settings = settings or LinkSettings()
        self._intake = Intake(self._settings.inbox_limit, self._settings.inbox_bytes)
        self._inbox: deque[Input] = deque()
        self._awake = True
        """A turn is to come, or there is to be none."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._open: dict[str, Connection] = {}
        self._complained: set[str] = set()
        self._about: dict[str, Json] = {}  # what records follow from, while its actions are carried out
        self._tasks = Tasks()
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._accepted = asyncio.Event()
        self._failure: GleitzeitError | None = None
        self._given_up = 0  # hubs
        self._draining = self._ended = False
        self._last_turn = self._last_registered = monotonic()
        urls = dict.fromkeys(url.rstrip("/") for url in hub_urls)
        self._auth = {"component_type": identity.role.value, "component_id": identity.component_id}
        if token is not None:
            self.show_token(token)
        self._able_since: float | None = None
        seconds, trusted = self._settings.connect_seconds, trust or trust_in()
        self._hubs = [
            HubLink(
                url,
                self,
                self._auth,
                self._settings,
                new_wire=lambda: SocketIo(seconds, trusted),
                is_client=identity.role is Role.CLIENT,
            )
            for url in urls
        ]

    # --- for whoever owns the component ---------------------------------------------------------

    async def run(self) -> None:
        """Connect to every hub and work, until ``stop()``; return when all is drained or the time is over.

        Raises:
            NotAuthenticated, TlsFailed: a client was refused; other roles go on trying.
            Exception: whatever the machine or the performer raised.
        """
        if self._performer is not None:
            await self._performer.start(self._finished)
        self._able_since = monotonic()
        try:
            self._rouse()
            if self.identity.role is not Role.CLIENT:
                self._tasks.spawn(self._sample(), name=f"{self.identity.role}: health")
            for hub in self._hubs:
                self._tasks.spawn(hub.run(), name=f"{self.identity.role}: {hub.url}")
            await self._until_over()
        finally:
            self._over.set()
            self._ended = True
            for timer in self._timers.values():
                timer.cancel()
            await self._tasks.cancel()
            if self._performer is not None:
                await self._performer.stop()

    def stop(self) -> None:
        """Begin to drain; repeating it changes nothing."""
        if not self._draining:
            self._draining = True
            self._put(self.link.drain)
            self._stopping.set()

    def perform(self, effects: Effects) -> None:
        """Carry out effects that come from outside: a client's wishes. Call it in the event loop."""
        self._put(partial(self.link.perform, effects))

    async def registered(self, timeout: float | None) -> None:  # noqa: ASYNC109 - the name of all
        """Wait until a hub has accepted us.

        Raises:
            NotAuthenticated, TlsFailed: we were refused.
            HubUnreachable: ``timeout`` seconds were not enough; the message says what was tried.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._accepted.wait()
        except TimeoutError:
            tried = "; ".join(f"{hub.url}: {hub.problem or 'no answer'}" for hub in self._hubs)
            raise HubUnreachable(f"no hub answers after {timeout:g} s: {tried}") from None
        if self._failure is not None:
            raise self._failure

    def show_token(self, token: str) -> None:
        """Show this token to hubs, from the next connection on."""
        self._auth["token"] = token

    def looking_seconds(self) -> float:
        """How long it has been able to work, and to look for a hub; 0 before that."""
        return 0.0 if self._able_since is None else monotonic() - self._able_since

    def is_healthy(self) -> bool:
        """Whether the systemd watchdog may be fed: there is a hub, and the inbox moves."""
        now = monotonic()
        if self._inbox and now - self._last_turn > STUCK:
            return False
        if self.link.is_registered():
            self._last_registered = now
        limit = self._settings.isolation_seconds
        return not limit or now - self._last_registered < limit

    def status_line(self) -> str:
        """For ``systemctl status``: its figures, and then its hubs; first what is wrong."""
        up = sum(1 for hub in self._hubs if hub.is_registered())
        figures = self._machine.status_line()
        if not up:
            problem = next((hub.problem for hub in self._hubs if hub.problem), "")
            state = "not connected to the hub" if len(self._hubs) == 1 else "not connected to any hub"
            parts = [f"{state} ({problem})" if problem else state, figures]
        elif len(self._hubs) == 1:
            parts = [figures, "hub connected"]
        else:
            parts = [figures, f"{up} of {len(self._hubs)} hubs connected"]
        if self._draining:
            parts.insert(0, "ending")
        return "; ".join(part for part in parts if part)

    # --- the inbox ------------------------------------------------------------------------------

    def _put(self, happened: Input) -> None:
        self._inbox.append(happened)
        if not self._awake:
            self._rouse()

    def _rouse(self) -> None:
        # A callback, not a task that waits: what comes alone is handled as soon as it is there.
        self._awake = True
        asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if not self._ended:
            self._tasks.call(self._turn, name=f"{self.identity.role}: inbox")

    def _turn(self) -> None:
        now, at = monotonic(), utc_now()
        self._last_turn = now
        while self._inbox and monotonic() - now < TURN:
            self._carry_out(self._inbox.popleft()(now, at))
        self._carry_out(self.link.settle(now, at))
        if self._draining and not self._inbox and self.link.draining and self._machine.drained():
            self._over.set()
        self._awake = False  # not if it has failed: that was the last one
        if self._inbox:
            self._rouse()

    def _carry_out(self, actions: Actions) -> None:
        for action in actions:
            self._carry_out_one(action)

    def _carry_out_one(self, action: Action) -> None:
        match action:
            case Transmit(hub):
                self._transmit(hub, action)
            case SetTimer(key, delay):
                self._cancel_timer(key)
                loop = asyncio.get_running_loop()
                self._timers[key] = loop.call_later(max(0.0, delay), self._timer_due, key)
            case CancelTimer(key):
                self._cancel_timer(key)
            case Call(call_id, request):
                assert self._performer is not None, f"{self.identity.role} has no performer for {request!r}"
                self._performer.perform(call_id, request)
            case CancelCall(call_id):
                assert self._performer is not None
                self._performer.cancel(call_id)
            case Note(level, message, fields):
                me = self.identity
                journal.note(me.role, level, message, fields, me.component_id, self._about)
            case Registered(hub, capabilities):
                self._open[hub].accepted(capabilities)
                self._accepted.set()
            case Refused(hub, error):
                self._open[hub].refused(refused_as(error))
            case Leave(hub, reason):
                self._open[hub].goodbye(reason)

    def _transmit(self, hub: str, item: Transmit) -> None:
        connection = self._open.get(hub)
        # If it has ended: what matters is asked again on the next one.
        if connection is not None and not connection.outbox.put(item):
            connection.leave("too much waits to be sent")

    def _cancel_timer(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _timer_due(self, key: str) -> None:
        self._put(partial(self._timer_expired, key, self._timers[key]))

    def _timer_expired(self, key: str, timer: asyncio.TimerHandle, now: float, at: str) -> Actions:
        if self._timers.get(key) is not timer:
            return []  # cancelled or set anew while its expiry was waiting in the inbox
        del self._timers[key]
        return self.link.timer_expired(key, now, at)

    def _finished(self, call_id: str, answer: object) -> None:
        self._put(partial(self.link.call_finished, call_id, answer))

    # --- connections ----------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        """Called by the connection: it is up."""

        def happened(now: float, at: str) -> Actions:
            self._open[connection.url] = connection
            return self.link.connected(connection.url, now, at)

        self._put(happened)

    def disconnected(self, connection: Connection) -> None:
        """Called by the connection: it is no more."""

        def happened(now: float, _at: str) -> Actions:
            self._open.pop(connection.url, None)
            actions = self.link.disconnected(connection.url)
            if not self.link.is_registered() and self._failure is None:
                self._accepted.clear()
                self._last_registered = now
            return actions

        self._put(happened)

    def received(self, connection: Connection, name: str, arguments: Sequence[Json]) -> None:
        """Called by the connection, in the handler of Socket.IO."""
        size = size_of(name, arguments)
        if self._intake.admit(size):
            self._put(partial(self._packet, connection, name, arguments, size))
        else:
            connection.leave("events come faster than they are handled")

    def _packet(
        self, connection: Connection, name: str, arguments: Sequence[Json], size: Size, now: float, at: str
    ) -> Actions:
        self._intake.release(size)
        for one, its_arguments in unpacked(name, arguments):
            try:
                for envelope, body in read(one, its_arguments, _new_id):
                    self._event(connection, one, envelope, body, now, at)
            except MalformedEvent as problem:
                self._complain(one, problem)
        return []

    def _event(
        self, connection: Connection, name: str, envelope: Envelope, body: str, now: float, at: str
    ) -> None:
        try:
            actions = self.link.received(connection.url, name, envelope, body, now, at)
        except (MalformedEvent, UnknownEvent) as problem:
            self._complain(name, problem)
            return
        if name == "component_registered":
            connection.heartbeat_interval = float(json.loads(body)["heartbeat_interval"])
        self._about = {"correlation_id": envelope.correlation_id, "caused_by": name}
        self._carry_out(actions)
        self._about = {}

    def _complain(self, name: str, problem: GleitzeitError) -> None:
        level = logging.DEBUG if name in self._complained else logging.WARNING
        if len(self._complained) < COMPLAINTS:
            self._complained.add(name)
        log.log(level, "an event was dropped", extra={"event": name, "error": problem})

    def fail(self, problem: GleitzeitError) -> None:
        """Called for a hub: going on makes no sense."""
        self._given_up += 1
        if isinstance(problem, TlsFailed) and self._given_up < len(self._hubs):
            return  # another hub may have a better certificate
        self._failure = problem
        self._accepted.set()
        self._over.set()
        self._stopping.set()

    # --- the end --------------------------------------------------------------------------------

    async def _until_over(self) -> None:
        failing = self._tasks.spawn(self._tasks.failure(), name=f"{self.identity.role}: failures")
        over = self._tasks.spawn(self._until_drained(), name=f"{self.identity.role}: end")
        await asyncio.wait({failing, over}, return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            raise failing.result()
        if self._failure is not None:
            raise self._failure

    async def _until_drained(self) -> None:
        await self._stopping.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.shutdown_seconds):
                await self._over.wait()
        if not self._over.is_set():
            log.warning("not everything could be ended in time", extra=journal.safe(self._machine.figures()))
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH):
                for connection in list(self._open.values()):
                    await connection.outbox.idle()

    async def _sample(self) -> None:
        while True:
            self.link.metrics = health.sample()
            await asyncio.sleep(SAMPLE)


def _new_id() -> str:
    return uuid.uuid4().hex
