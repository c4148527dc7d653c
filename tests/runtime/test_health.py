from __future__ import annotations

import json

import psutil
import pytest

from gleitzeitd.runtime import health


def test_a_sample_tells_how_the_process_is_in_json() -> None:
    figures = health.sample()
    assert set(figures) == {
        "uptime_seconds",
        "cpu_percent",
        "memory_bytes",
        "open_files",
        "threads",
        "load_average",
    }
    assert json.loads(json.dumps(figures)) == figures
    assert figures["threads"] >= 1
    assert figures["memory_bytes"] > 1_000_000


def test_what_a_sandbox_hides_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(self: psutil.Process) -> int:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "num_fds", hidden)
    figures = health.sample()
    assert "open_files" not in figures
    assert "threads" in figures
