"""Nothing may be called that was not named."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.mcp_serve.allow import AllowList


def test_without_a_pattern_no_method_is_allowed_and_every_given_workflow_is() -> None:
    nothing = AllowList.of([])
    assert not nothing.allows_method("echo/echo")
    assert nothing.allows_workflow("Report")


def test_a_pattern_allows_the_methods_it_matches_and_no_others() -> None:
    allow = AllowList.of(["echo/*", "llm/chat"])
    allowed = {
        name
        for name in ("echo/ping", "llm/chat", "llm/vision", "shell/echo/", "Echo/ping")
        if allow.allows_method(name)
    }
    assert allowed == {"echo/ping", "llm/chat"}


def test_a_workflow_that_is_named_leaves_out_the_others_and_allows_no_method() -> None:
    allow = AllowList.of(["workflow:report-*"])
    assert allow.allows_workflow("report-daily")
    assert not allow.allows_workflow("cleanup")
    assert not allow.allows_method("workflow:report-daily")


@pytest.mark.parametrize("pattern", ["", "echo", "workflow:", "echo /x", "/x", "workflows:report"])
def test_what_is_neither_method_nor_workflow_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="--allow"):
        AllowList.of([pattern])


def test_patterns_that_match_nothing_are_known() -> None:
    allow = AllowList.of(["ecko/*", "echo/*", "workflow:Report", "workflow:report"])
    assert allow.idle({"echo/echo"}, {"Report"}) == ["ecko/*", "workflow:report"]
