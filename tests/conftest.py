"""What all tests share: settings of plugins, and rewriting of the helpers' assertions."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite(
    "tests.drive",
    "tests.cluster",
    "tests.cluster_wire",
    "tests.cluster_parts",
    "tests.model.owned_ledger",
    "tests.providers.contract",
    "tests.runtime.hub_peers",
    "tests.stores.contract",
)

# A machine that is busy with something else is not a failure: no deadline per example, and none for the
# making of examples. `print_blob` shows how to repeat a failure.
# Where changes are judged, the same examples are tried each time; everywhere else, new ones.
settings.register_profile(
    "gleitzeit",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize="CI" in os.environ,
)
settings.load_profile("gleitzeit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make known what pytest-asyncio before 0.24 does not know: unknown options are errors here."""
    parser.addini("asyncio_default_fixture_loop_scope", "see pytest-asyncio", default="function")
