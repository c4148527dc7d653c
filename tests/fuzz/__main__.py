"""``python -m tests.fuzz``: frames that nobody foresaw, for the hub and for all components.

Three ways, each with a share of the frames: by chance, in this process; guided by what code they reach
(atheris, if it is there); and over real websockets to a hub of its own. What failed is written down in the
corpus, from which ``tests/test_fuzz.py`` repeats it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gleitzeitd.events import COMPONENTS
from tests.fuzz.corpus import keep, kept
from tests.fuzz.draw import Bytes, Chance
from tests.fuzz.port import Port
from tests.fuzz.targets import Caught, ComponentTarget, HubTarget, watched

SAID_EVERY = 5.0
"""Seconds between two lines of progress."""


def main() -> int:
    """The exit code: 0 nothing was found, 1 something was."""
    parser = argparse.ArgumentParser(prog="dev fuzz", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--frames", type=int, default=1_000_000, help="in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of chance (default %(default)s)")
    parser.add_argument(
        "--way", choices=("all", "chance", "guided", "port"), default="all", help="(default %(default)s)"
    )
    parser.add_argument("--guided-run", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.guided_run:
        guided(given.frames, given.seed)
    ways: dict[str, Callable[[int, int], None]] = {"chance": by_chance, "guided": in_child, "port": over_port}
    shares = {"chance": 0.5, "guided": 0.3, "port": 0.2}
    try:
        for way, share in shares.items():
            if given.way in ("all", way):
                ways[way](int(given.frames * (share if given.way == "all" else 1)), given.seed)
    except Caught as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


class Progress:
    """A line now and then."""

    def __init__(self, way: str, frames: int) -> None:
        self._way, self._frames = way, frames
        self._begun = self._said = time.monotonic()

    def at(self, done: int) -> None:
        """So many frames are done."""
        now = time.monotonic()
        if now - self._said >= SAID_EVERY or done == self._frames:
            self._said = now
            rate = done / max(now - self._begun, 0.001)
            print(f"{self._way}: {done} of {self._frames} frames, {rate:.0f}/s", file=sys.stderr, flush=True)


def by_chance(frames: int, seed: int) -> None:
    """Half of them for the hub, the rest for components.

    Raises:
        Caught: see there; the frame is in the corpus.
    """
    progress, draw = Progress("chance", frames), Chance(seed)

    async def feed() -> None:
        with watched() as watch:
            hub = HubTarget(watch)
            components = [ComponentTarget(role) for role in sorted(COMPONENTS)]
            for number in range(frames):
                target = hub if number % 2 else components[number // 2 % len(components)]
                kept_if_caught(target, draw)
                if number % 1000 == 999 or number + 1 == frames:
                    progress.at(number + 1)

    asyncio.run(feed())


def kept_if_caught(target: HubTarget | ComponentTarget, draw: Chance | Bytes) -> None:
    """Feed it; what is caught is kept."""
    try:
        target.feed(draw)
    except Caught as problem:
        keep("hub" if isinstance(target, HubTarget) else target.role.value, target.last)
        raise problem


def in_child(frames: int, seed: int) -> None:
    """Guided by coverage, in a process of its own, since atheris ends it.

    Raises:
        Caught: something was; the frame is in the corpus.
    """
    try:
        import atheris  # noqa: F401 -- whether it is there
    except ImportError:
        print("guided: left out, since atheris is not installed", file=sys.stderr)
        return
    words = ["--guided-run", "--frames", str(frames), "--seed", str(seed)]
    if subprocess.run([sys.executable, "-m", "tests.fuzz", *words], check=False).returncode:
        raise Caught("guided: see above")


def guided(frames: int, seed: int) -> None:
    """Ends this process: 0 if nothing was found."""
    import atheris

    folder = Path("build/fuzz")
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_, text) in enumerate(kept()):
        (folder / f"kept-{number}").write_bytes(b"\x00" + text[2:].encode(errors="surrogatepass"))
    for module in [name for name in sys.modules if name.startswith("gleitzeitd.")]:
        _instrument(atheris, module)
    progress, done = Progress("guided", frames), 0

    async def run() -> None:
        with watched() as watch:
            hub = HubTarget(watch)
            components = [ComponentTarget(role) for role in sorted(COMPONENTS)]

            def one(data: bytes) -> None:
                nonlocal done
                done += 1
                if done % 1000 == 0:
                    progress.at(done)
                feed_bytes(hub, components, data)

            options = [f"-runs={frames}", f"-seed={seed}", "-max_len=600", "-len_control=0", "-verbosity=0"]
            options.append(f"-artifact_prefix={folder}/")
            atheris.Setup([sys.argv[0], *options, str(folder)], one)
            atheris.Fuzz()

    asyncio.run(run())


def _instrument(atheris: object, name: str) -> None:
    module = sys.modules[name]
    for each in list(vars(module).values()):
        functions = [each] if callable(each) else []
        if isinstance(each, type) and each.__module__ == name:
            functions = [item for item in vars(each).values() if callable(item)]
        for function in functions:
            if getattr(function, "__module__", "") == name and hasattr(function, "__code__"):
                with contextlib.suppress(Exception):  # what cannot be instrumented runs all the same
                    atheris.instrument_func(function)  # type: ignore[attr-defined]


def feed_bytes(hub: HubTarget, components: list[ComponentTarget], data: bytes) -> None:
    """First what is meant: the rest as it is, or choices to make a frame from."""
    draw = Bytes(data)
    how = draw.below(2 + 2 * len(components))
    if how == 0:
        hub.feed_text("42" + data[1:].decode(errors="replace"))
    elif how == 1:
        kept_if_caught(hub, draw)
    elif how % 2:
        kept_if_caught(components[(how - 2) // 2], draw)
    else:
        components[(how - 2) // 2].replay("42" + data[1:].decode(errors="replace"))


def over_port(frames: int, seed: int) -> None:
    """To a hub in a process of its own, by many connections.

    Raises:
        Caught: it has ended, or has logged an error, or serves nobody any more, or takes too much memory.
    """
    progress = Progress("port", frames)
    with Port() as port:
        found = asyncio.run(port.feed(frames, seed, progress.at))
    print(f"port: {json.dumps(found)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
