"""What goes wrong in a run, how often, and with whom; all of it from the seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from gleitzeitd.machines.persistence import Settings
from tests.cluster import Cluster, Disk, Network

HUBS = ("hub-1", "hub-2")
TWINS = ("registry-2", "resolver-2", "queue-2", "engine-2", "provider-2")
NODES = ("persistence", "registry", "resolver-1", "queue-1", "engine-1", "provider-1", *TWINS)
BOTH = ("up", "down")

AFTER = 1.5
"""Seconds from the last fault on in which what is left of them may go on."""

Fault = Callable[["Faults"], str]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A kind of bad weather."""

    faults: tuple[tuple[float, Fault], ...] = ()
    """With their weights."""
    rate: float = 0.0
    """Faults per second."""
    seconds: float = 8.0
    """For how long."""
    skew: float = 0.0
    """By how much a clock may be too fast or too slow, as a share."""
    disk: Disk = Disk()
    short: bool = False
    """Nothing outlives a lease: then no task may run twice."""
    weather: tuple[Network, ...] = (Network(),)
    """Of which one is chosen."""
    workflows: int = 4
    ledger: Settings = Settings()
    deletes: bool = False
    """The client deletes some workflows as soon as it can."""


class Faults:
    """Makes the faults of one run."""

    def __init__(self, cluster: Cluster, profile: Profile, rng: random.Random) -> None:
        self.cluster = cluster
        self.profile = profile
        self.rng = rng
        self.network = cluster.network
        self.gone: set[str] = set()
        """Those that do not come back."""
        self.told: list[tuple[float, str]] = []
        """Every fault, and when."""

    def begin(self) -> None:
        """Set clocks, network and disk, and have faults come until the time is over."""
        for name in (*HUBS, *NODES, "client"):
            self.cluster.rates[name] = 1.0 + self.rng.uniform(-1, 1) * self.profile.skew
        self.network = self.cluster.network = self.rng.choice(self.profile.weather)
        self.cluster.disk = self.profile.disk
        if self.profile.rate:
            self.cluster.call_later(self.rng.expovariate(self.profile.rate), self._next)

    def _next(self) -> None:
        if self.cluster.now > self.profile.seconds:
            return
        weights = [weight for weight, _ in self.profile.faults]
        ((_, fault),) = self.rng.choices(self.profile.faults, weights)
        if what := fault(self):
            self.told.append((self.cluster.now, what))
        self.cluster.call_later(self.rng.expovariate(self.profile.rate), self._next)

    def end(self) -> None:
        """From here on everything goes well; all but those that are gone are there."""
        self.cluster.heal()
        for name in NODES:
            if not self.cluster.nodes[name].alive and name not in self.gone:
                self.cluster.restart(name)

    # --- faults ---------------------------------------------------------------------------------

    def node(self) -> str:
        return self.rng.choice([name for name in NODES if name not in self.gone])

    def at_most(self, seconds: float) -> float:
        """Nothing lasts longer than the bad weather."""
        return min(seconds, self.profile.seconds + AFTER - self.cluster.now)

    def restart(self, name: str) -> None:
        if not self.cluster.nodes[name].alive and name not in self.gone:
            self.cluster.restart(name)


def kill(f: Faults) -> str:
    name, down = f.node(), f.rng.choice([0.01, 0.2, 1.0, 4.0, 9.0])
    if not f.cluster.nodes[name].alive:
        return ""
    f.cluster.kill(name)
    f.cluster.call_later(down, f.restart, name)
    return f"kill -9 {name}, started again after {down} s"


def lose(f: Faults) -> str:
    name = f.rng.choice(TWINS)
    if len(f.gone) >= 2 or name in f.gone:
        return ""
    f.cluster.kill(name)
    f.gone.add(name)
    return f"{name} is lost for ever"


def _hub_down(f: Faults, downs: list[float]) -> str:
    name, down = f.rng.choice(HUBS), f.rng.choice(downs)
    if f.rng.random() < 0.3:
        f.cluster.end_hub(name, down)
        return f"{name} is asked to end, started again after {down} s"
    f.cluster.kill_hub(name, down)
    return f"kill -9 {name}, started again after {down} s"


def hub(f: Faults) -> str:
    return _hub_down(f, [0.05, 1.0, 5.0])


def hub_shortly(f: Faults) -> str:
    return _hub_down(f, [0.05, 0.3, 0.8])


def pause(f: Faults) -> str:
    name = f.rng.choice(HUBS) if f.rng.random() < 0.2 else f.node()
    seconds = f.rng.choice([0.3, 1.0, 2.0, 6.0, 12.0])
    f.cluster.stop(name, f.at_most(seconds))
    return f"stop {name} for {f.at_most(seconds):.3g} s"


def _cut(f: Faults, lengths: list[float]) -> str:
    name = "client" if f.rng.random() < 0.1 else f.node()
    hubs = HUBS if f.rng.random() < 0.5 else (f.rng.choice(HUBS),)
    ways = f.rng.choice([("up",), ("down",), BOTH])
    seconds, loses = f.at_most(f.rng.choice(lengths)), f.rng.random() < 0.5
    for each in hubs:
        f.cluster.cut(name, each, ways, seconds, loses=loses)
    how = "what is sent is lost" if loses else "what is sent comes late"
    return f"cut {name} from {' and '.join(hubs)}, {'+'.join(ways)}, for {seconds:.3g} s; {how}"


def cut(f: Faults) -> str:
    return _cut(f, [0.2, 1.5, 6.0, 12.0])


def cut_shortly(f: Faults) -> str:
    return _cut(f, [0.05, 0.3, 1.0])


def spike(f: Faults) -> str:
    delay = f.rng.choice([0.05, 0.5])
    f.cluster.network = replace(f.network, delay=delay)
    f.cluster.call_later(3.0, setattr, f.cluster, "network", f.network)
    return f"delays up to {delay} s, for 3 s"


def disk_full(f: Faults) -> str:
    seconds = f.rng.choice([0.05, 0.5, 2.0])
    f.cluster.disk = Disk(0.0005, 0.004, fails=f.rng.choice([0.3, 1.0]))
    # Not what it was before: that may be another fault, which is over by then.
    f.cluster.call_later(seconds, setattr, f.cluster, "disk", f.profile.disk)
    return f"commits fail for {seconds} s"


def pause_client(f: Faults) -> str:
    seconds = f.at_most(f.rng.choice([0.3, 6.0]))
    f.cluster.stop("client", seconds)
    return f"stop client for {seconds:.3g} s"


_ALL = (
    (0.34, kill),
    (0.04, lose),
    (0.12, hub),
    (0.18, pause),
    (0.22, cut),
    (0.04, spike),
    (0.04, disk_full),
    (0.02, pause_client),
)
_SHORT = ((0.3, hub_shortly), (0.7, cut_shortly))
_LOSSY = (Network(), Network(loss=0.02, duplicates=0.02, delay=0.02))

_FORGETFUL = Settings(
    keep_finished_days=0, keep_finished_count=1, delete_every_seconds=0.5, repeat_seconds=20.0
)
"""Longer than anybody is out of reach: whoever repeats a submission after that means a new workflow."""

PROFILES = {
    "calm": Profile(short=True, seconds=6.0),
    "loss": Profile(faults=_SHORT, rate=1.0, short=True, skew=0.05, weather=_LOSSY),
    "all": Profile(faults=_ALL, rate=1.0, skew=0.05),
    "storm": Profile(faults=_ALL, rate=3.0, skew=0.05),
    "slow-disk": Profile(faults=_ALL, rate=0.5, skew=0.05, disk=Disk(0.05, 0.5, fails=0.02)),
    "deletion": Profile(
        faults=_ALL,
        rate=0.6,
        seconds=40.0,
        skew=0.05,
        weather=_LOSSY,
        workflows=10,
        ledger=_FORGETFUL,
        deletes=True,
    ),
}

__all__ = ["BOTH", "HUBS", "NODES", "PROFILES", "TWINS", "Faults", "Profile"]
