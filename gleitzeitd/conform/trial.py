"""One provider goes through all checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gleitzeitd.conform.arena import Arena
from gleitzeitd.conform.checks import CHECKS, Check
from gleitzeitd.conform.driver import Driver, Failed, Settings, Skipped

__all__ = ["Outcome", "Settings", "Trial"]

_FIRST = ("connect", "protocol", "provider")
"""Without these nothing else can be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a check."""

    name: str
    status: str
    """``ok``, ``failed`` or ``skipped``."""
    expected: str
    seen: str = ""


class Trial:
    """``async for outcome in trial.run()``, inside ``async with Arena()``."""

    def __init__(
        self,
        arena: Arena,
        *,
        command: Sequence[str] = (),
        settings: Settings | None = None,
        only: Sequence[str] = (),
    ) -> None:
        """``command`` starts the provider; without one, the first that connects is looked at.

        ``only`` names the checks to make; those without which none can be made are made anyway.
        """
        self._driver = Driver(arena, settings or Settings(), command)
        self._chosen = [each for name, each in CHECKS.items() if not only or name in (*_FIRST, *only)]

    async def run(self) -> AsyncIterator[Outcome]:
        """The outcomes, one by one. Raises ConfigError if the command cannot be started."""
        it = self._driver
        missing = ""
        try:
            await it.start()
            for each in self._chosen:
                if missing:
                    yield _outcome(each, "skipped", missing)
                    continue
                made = await self._made(each)
                yield made
                if made.status == "failed" and each.name in _FIRST:
                    missing = f"not looked at, since {each.name} has failed"
        finally:
            await it.stop()

    async def _made(self, each: Check) -> Outcome:
        try:
            if each.name not in _FIRST:
                await self._there()
            return _outcome(each, "ok", await each.look(self._driver) or "")
        except Failed as problem:
            return _outcome(each, "failed", str(problem))
        except Skipped as why:
            return _outcome(each, "skipped", str(why))

    async def _there(self) -> None:
        """After a check that it has not survived, the provider gets another chance.

        Raises:
            Failed: it does not take it.
        """
        it = self._driver
        if it.arena.provider(it.component_id) is not None:
            return
        since = it.mark()
        if it.ended():
            it.component_id = ""
            await it.start()
            if not await it.arena.record.until(
                lambda: it.arena.provider() is not None, it.settings.start_seconds
            ):
                raise Failed("it was started again, and has not come back")
            it.component_id = getattr(it.arena.provider(), "component_id", "")
        if await it.event("register_provider", since) is None:
            raise Failed("it has not come back since an earlier check")


def _outcome(each: Check, status: str, seen: str) -> Outcome:
    return Outcome(name=each.name, status=status, expected=each.expected, seen=seen)
