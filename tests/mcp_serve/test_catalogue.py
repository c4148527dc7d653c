"""Which tools there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from gleitzeitd.errors import AnswerTimeout, WorkflowInvalid
from gleitzeitd.events.protocol_registry import ProtocolList
from gleitzeitd.mcp_serve.allow import AllowList
from gleitzeitd.mcp_serve.catalogue import Catalogue
from gleitzeitd.model.protocol import Method, Protocol

GOOD = "name: {}\ntasks:\n  - {{id: a, method: echo/ping}}\n"
ECHO = Protocol(name="echo/v1", methods={"echo/echo": Method(), "echo/ping": Method()})
SHELL = Protocol(name="shell/v1", methods={"shell/execute": Method()})


class Registry:
    """Knows these protocols, or is away."""

    def __init__(self, *protocols: Protocol) -> None:
        self.known = [*protocols]
        self.away = False

    async def protocols(self) -> ProtocolList:
        if self.away:
            raise AnswerTimeout("no answer")
        return ProtocolList(protocols=self.known, providers=[])


class Served(Catalogue):
    """A catalogue whose words are kept."""

    def __init__(self, *paths: Path, allow: tuple[str, ...] = (), registry: Registry | None = None) -> None:
        self.said: list[str] = []
        super().__init__(
            paths, AllowList.of(allow), registry or Registry(ECHO, SHELL), self.said.append, reserved=["own"]
        )


async def test_a_folder_gives_its_workflows_and_says_once_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(GOOD.format("Second"))
    (tmp_path / "a.yml").write_text(GOOD.format("First"))
    (tmp_path / "other.yaml").write_text("services: {}\n")
    (tmp_path / "readme.txt").write_text("no")
    (tmp_path / ".hidden.yaml").write_text(GOOD.format("Hidden"))
    served = Served(tmp_path)
    assert [*await served.check()] == ["first", "second"]
    assert [*await served.tools()] == ["first", "second"]
    assert len(served.said) == 1 and "other.yaml" in served.said[0]


async def test_a_file_that_is_changed_while_the_server_runs_is_served_as_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD.format("Before"))
    served = Served(file)
    assert [*await served.check()] == ["before"]
    file.write_text(GOOD.format("After"))
    assert [*await served.tools()] == ["after"]
    file.write_text("name: [")
    assert not await served.tools() and len(served.said) == 1


@pytest.mark.parametrize(
    "text", ["name: [", "name: x\n", "name: x\ninputs: {a: {items: {$ref: '#/b'}}}\n" + GOOD.format("y")]
)
async def test_a_file_that_was_named_has_to_be_right(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(WorkflowInvalid, match=r"a\.yaml:\d+:\d+: "):
        await Served(tmp_path / "a.yaml").check()
    with pytest.raises(WorkflowInvalid, match=r"nothing\.yaml"):
        await Served(tmp_path / "nothing.yaml").check()


async def test_methods_are_tools_only_if_they_are_allowed(tmp_path: Path) -> None:
    assert not await Served().tools()
    served = Served(allow=("echo/*", "ecko/*"))
    assert [*await served.check()] == ["echo_echo", "echo_ping"]
    assert served.said == ["--allow ecko/*: there is nothing of that name now"]
    assert served.why_not("shell_execute") == "shell/execute is not in the allow list of this server"
    assert served.why_not("shell/execute") and served.why_not("rm") is None


async def test_methods_that_come_later_are_served_and_are_remembered_while_the_registry_is_away() -> None:
    registry = Registry()
    served = Served(allow=("echo/*",), registry=registry)
    assert not await served.check()
    registry.known = [ECHO]
    assert len(await served.tools()) == 2
    registry.away = True
    assert len(await served.tools()) == len(await served.tools()) == 2
    assert sum("known before" in each for each in served.said) == 1
    with pytest.raises(AnswerTimeout):
        await served.check()


async def test_a_batch_is_what_its_folder_holds_now(tmp_path: Path) -> None:
    text = "name: b\ntype: batch\nbatch: {pattern: '*.txt'}\ntemplate: {method: echo/echo}\n"
    (tmp_path / "b.yaml").write_text(text)
    (tmp_path / "one.txt").touch()
    served = Served(tmp_path / "b.yaml")
    assert (await served.check())["b"].steps == 1
    (tmp_path / "two.txt").touch()
    assert (await served.tools())["b"].steps == 2


async def test_a_workflow_can_be_left_out_by_its_name(tmp_path: Path) -> None:
    for name in ("report", "cleanup"):
        (tmp_path / f"{name}.yaml").write_text(GOOD.format(name))
    assert [*await Served(tmp_path, allow=("workflow:rep*",)).tools()] == ["report"]


async def test_only_what_came_from_what_is_served_here_can_be_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.format("Report"))
    served = Served(tmp_path, allow=("echo/*",))
    assert await served.permits({"workflow": "Report", "tool": "report"})
    assert await served.permits({"method": "echo/echo", "protocol": "echo/v1"})
    for stranger in (
        None,
        "Report",
        {},
        {"workflow": "Other"},
        {"workflow": None},
        {"method": "shell/execute"},
    ):
        assert not await served.permits(stranger)
