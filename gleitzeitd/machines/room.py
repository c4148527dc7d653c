"""Which providers an engine knows, and how much room it has left in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gleitzeitd.events.protocol_registry import ProviderInfo
from gleitzeitd.model.names import ComponentId

DISCONNECTED_SECONDS = 2.0
"""How long a provider whose connection ended, and whom nobody reaches, has to come back."""
UNREACHABLE_SECONDS = 8.0
"""The same for one of which only that is known: a hub that was started again has not seen it yet, and
connections come back within 5 s."""


@dataclass(slots=True)
class Offer:
    """The free slots, and the room for calls, that an engine has told of; and what of it is used up since.

    To whoever was told, all that has come since is still there, though it may have ended: what is left for
    him grows only with the next telling. While he knows of half of the slots, and of nearly all room, that
    can wait.
    """

    free: int
    room: dict[str, int]

    def take(self, protocol: str) -> None:
        """A task of the protocol has come."""
        self.free -= 1
        if protocol in self.room:
            self.room[protocol] -= 1

    def is_outdated(self, free: int, room: Mapping[str, int]) -> bool:
        """Whether there is less than was told, or much more of it, or a protocol more or less."""
        if self.room.keys() != room.keys() or not self.free <= free <= 2 * self.free:
            return True
        # Room is shared: calls that have ended, and are not told of, are missing to other engines.
        return any(not self.room[name] <= left <= self.room[name] + left // 16 for name, left in room.items())


@dataclass(slots=True)
class Room:
    """What the registry says, and the calls that this engine has in each provider."""

    _providers: dict[ComponentId, ProviderInfo] = field(default_factory=dict)
    _calls: Counter[ComponentId] = field(default_factory=Counter)
    _doubts: dict[ComponentId, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._providers)

    def know(self, provider: ProviderInfo) -> None:
        """A provider is there, or says something else of itself."""
        self._providers[provider.component_id] = provider
        self._doubts.pop(provider.component_id, None)

    def know_only(self, providers: Iterable[ProviderInfo]) -> None:
        """These are there, and no others."""
        self._providers = {provider.component_id: provider for provider in providers}

    def forget(self, provider: ComponentId) -> None:
        """It is gone; calls in it still count, until each has been given back."""
        self._providers.pop(provider, None)
        self._doubts.pop(provider, None)

    def doubt(self, provider: ComponentId, until: float) -> float:
        """It may be gone: no new call goes there until it is known again.

        Returns the time at which it counts as gone: the earliest that was said.
        """
        self._providers.pop(provider, None)
        self._doubts[provider] = min(until, self._doubts.get(provider, until))
        return self._doubts[provider]

    def heard(self, provider: ComponentId) -> None:
        """Something has come from it."""
        self._doubts.pop(provider, None)

    def epoch(self, provider: ComponentId) -> int:
        """Of a known provider's process; 0 if it has not said."""
        return self._providers[provider].epoch

    def take(self, provider: ComponentId) -> None:
        """A call begins there."""
        self._calls[provider] += 1

    def give_back(self, provider: ComponentId) -> None:
        """A call there has ended."""
        self._calls[provider] -= 1
        if self._calls[provider] <= 0:
            del self._calls[provider]

    def best(self, protocol: str) -> ComponentId | None:
        """The provider with most room; None if none has any."""
        best: ComponentId | None = None
        most = 0
        for provider in self._providers.values():
            if provider.protocol == protocol:
                left = provider.capacity - self._calls[provider.component_id]
                if left > most:
                    best, most = provider.component_id, left
        return best

    def calls(self, waiting: Mapping[str, int]) -> dict[str, int]:
        """Protocol to the calls in its providers, and those that wait for room there."""
        calls = Counter(waiting)
        for provider in self._providers.values():
            calls[provider.protocol] += self._calls[provider.component_id]
        return {protocol: count for protocol, count in calls.items() if count}

    def left(self, waiting: Mapping[str, int]) -> dict[str, int]:
        """Protocol to how many more calls there is room for, beyond those that wait already."""
        room: dict[str, int] = {}
        for provider in self._providers.values():
            free = max(provider.capacity - self._calls[provider.component_id], 0)
            room[provider.protocol] = room.get(provider.protocol, 0) + free
        for protocol, count in waiting.items():
            if protocol in room:
                room[protocol] = max(room[protocol] - count, 0)
        return room
