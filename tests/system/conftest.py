"""Hosts that all scenarios share, and the order of these: first those that change nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gleitzeitd import __version__
from tests.system.fleet import HUB_HOST, WORKERS, Fleet, Pair, booted, release
from tests.system.image import base_image
from tests.system.needs import what_is_missing
from tests.system.packages import former_version, packages_of
from tests.system.progress import say

HERE = Path(__file__).resolve().parent
ORDER = (
    "test_first_run",
    "test_three_hosts",
    "test_cut_off",
    "test_sandbox",
    "test_user_code",
    "test_journal",
    "test_operating",
    "test_reload",
    "test_hub_restart",
    "test_killed_units",
    "test_upgrade",
    "test_backup",
    "test_mcp",
    "test_packages",
    "test_tls",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and put it in its order behind all other tests."""
    ours = [item for item in items if item.path.parent == HERE]
    for item in ours:
        item.add_marker(pytest.mark.system)
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.alone)
    others = [item for item in items if item.path.parent != HERE]
    items[:] = others + sorted(ours, key=lambda item: ORDER.index(item.path.stem))


@pytest.fixture(autouse=True)
def _say_what_it_shows(request: pytest.FixtureRequest) -> Iterator[None]:
    begun = time.monotonic()
    yield
    say(request.node.name.removeprefix("test_").replace("_", " "), time.monotonic() - begun)


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder with the packages of this tree."""
    _skip_unless_possible()
    return packages_of(__version__)


@pytest.fixture(scope="session")
def image() -> Iterator[Path]:
    """The file system that hosts start from; made while the packages are built, if both have to be."""
    _skip_unless_possible()
    with ThreadPoolExecutor() as pool:
        building = pool.submit(packages_of, __version__)
        with base_image(release()) as image:
            building.result()
            yield image


@pytest.fixture(scope="session")
def fleet(image: Path, packages: Path) -> Iterator[Fleet]:
    """The hub's host with everything, and two workers that have joined it."""
    with booted(image, HUB_HOST, *WORKERS) as hosts:
        yield Fleet.made_of(hosts, packages)


@pytest.fixture(scope="session")
def pair(image: Path, packages: Path) -> Iterator[Pair]:
    """Two hosts of their own, which no other scenario sees."""
    former = packages_of(former_version())
    with booted(image, HUB_HOST, WORKERS[0]) as hosts:
        yield Pair.made_of(hosts, packages, former)


def _skip_unless_possible() -> None:
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
