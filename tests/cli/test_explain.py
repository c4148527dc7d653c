"""gleitzeit explain."""

from __future__ import annotations

import json

from gleitzeitd.model.explanation import EXPLANATIONS
from tests.cli.fake_client import FakeClient, call


def test_an_error_is_explained_in_the_words_of_the_journals_catalogue() -> None:
    one = EXPLANATIONS["TASK_TIMEOUT"]
    for given in ("-29003", "29003", "task_timeout"):
        result = call(FakeClient(), "explain", given)
        assert result.exit_code == 0
        assert result.stdout == f"{one.title()}\n\n{one.body()}\n"


def test_without_a_code_all_are_listed() -> None:
    lines = call(FakeClient(), "explain").stdout.splitlines()
    assert len(lines) == len(EXPLANATIONS)
    assert lines[0].split()[:2] == ["-25001", "CONNECTION_FAILED"]
    plain = json.loads(call(FakeClient(), "explain", "--json").stdout)
    assert [each["name"] for each in plain["errors"]] == list(EXPLANATIONS)


def test_a_code_that_does_not_exist_is_refused_with_a_suggestion() -> None:
    result = call(FakeClient(), "explain", "task_timeuot")
    assert result.exit_code == 2
    assert "there is no error 'task_timeuot', did you mean TASK_TIMEOUT?" in result.stderr
    assert "gleitzeit explain lists them" in call(FakeClient(), "explain", "x").stderr
    plain = json.loads(call(FakeClient(), "explain", "nonsense", "--json").stdout)
    assert plain["error"]["name"] == "INVALID_PARAMS"
