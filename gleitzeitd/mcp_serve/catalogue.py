"""Which tools there are now.

Files are read anew each time, so that a workflow can be mended while its server runs; protocols are those
that the registry knows now, or the last ones that it has told while it is away. What was wrong with a file
is said once. A file that was named itself has to be right when the server starts; in a folder, one that is
no workflow is left out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol as Shape

from gleitzeitd.errors import AnswerTimeout, HubUnreachable, WorkflowInvalid
from gleitzeitd.events.protocol_registry import ProtocolList
from gleitzeitd.mcp_serve.allow import AllowList
from gleitzeitd.mcp_serve.tools import (
    MethodTool,
    Tool,
    WorkflowTool,
    named,
    of_method,
    of_workflow,
    schema_problem,
)
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.plain import Json
from gleitzeitd.workflow_file import load, render

ENDINGS = (".yaml", ".yml", ".json")
"""Of the files in a folder that are looked at."""
TOOLS_LIMIT = 1000
"""More than any host can choose from; what is beyond it is left out, and said."""


_Signature = tuple[int, int, int]


class Registry(Shape):
    """What is needed of the client."""

    async def protocols(self) -> ProtocolList:
        """Which protocols exist."""


class Catalogue:
    """The tools of one server."""

    def __init__(
        self,
        paths: Sequence[Path],
        allow: AllowList,
        registry: Registry,
        tell: Callable[[str], None],
        *,
        reserved: Collection[str] = (),
    ) -> None:
        """``paths`` are files and folders of workflows; ``reserved`` are names that no tool gets."""
        self.allow = allow
        self._paths = tuple(paths)
        self._registry = registry
        self._tell = tell
        self._reserved = reserved
        self._protocols: Sequence[Protocol] = ()
        self._said: set[str] = set()
        self._read: dict[Path, tuple[_Signature, WorkflowTool]] = {}

    async def check(self) -> Mapping[str, Tool]:
        """The tools there are when the server starts; patterns that match nothing are said.

        Raises:
            WorkflowInvalid: a file that was named itself cannot be used.
            AnswerTimeout: methods are allowed, and nobody says which there are.
        """
        for path in self._paths:
            if not path.is_dir():
                await asyncio.to_thread(_read, path)
        if self.allow.methods:
            self._protocols = (await self._registry.protocols()).protocols
        tools = await self.tools()
        workflows = {tool.workflow.name for tool in tools.values() if isinstance(tool, WorkflowTool)}
        methods = {name for protocol in self._protocols for name in protocol.methods}
        for pattern in self.allow.idle(methods, workflows):
            self._tell(f"--allow {pattern}: there is nothing of that name now")
        return tools

    async def tools(self) -> Mapping[str, Tool]:
        """By name; workflows in the order in which they were given, then methods."""
        found: list[Tool] = [*await self._workflows(), *await self._methods()]
        if len(found) > TOOLS_LIMIT:
            self._say_once(f"{len(found)} tools are too many: the first {TOOLS_LIMIT} are served")
        return named(found[:TOOLS_LIMIT], self._reserved)

    async def permits(self, origin: Json) -> bool:
        """Whether a workflow that came from ``origin`` came from what may be called here."""
        if not isinstance(origin, dict):
            return False
        if isinstance(origin.get("method"), str):
            return self.allow.allows_method(origin["method"])
        return any(tool.workflow.name == origin.get("workflow") for tool in await self._workflows())

    def why_not(self, name: str) -> str | None:
        """Why there is no tool of this name, if something of this name is known that is not allowed."""
        hidden = [
            of_method(protocol, method, declared)
            for protocol in self._protocols
            for method, declared in protocol.methods.items()
            if not self.allow.allows_method(method)
        ]
        known = {key: tool.method for key, tool in named(hidden).items()} | {
            tool.method: tool.method for tool in hidden
        }
        return f"{known[name]} is not in the allow list of this server" if name in known else None

    async def _workflows(self) -> list[WorkflowTool]:
        return await asyncio.to_thread(lambda: list(self._in_files()))

    def _in_files(self) -> Iterator[WorkflowTool]:
        for path in self._paths:
            for file in self._files(path):
                try:
                    tool = self._as_it_is(file)
                except WorkflowInvalid as problem:
                    self._say_once(f"{file} is left out: {problem}")
                    continue
                if self.allow.allows_workflow(tool.workflow.name):
                    yield tool

    def _as_it_is(self, path: Path) -> WorkflowTool:
        """The tool that a file is, which is read again only if it has changed.

        Raises:
            WorkflowInvalid: it is none.
        """
        signature = _signature(path)
        known = self._read.get(path)
        # A batch is what its folder holds, of which its file knows nothing.
        if known is not None and known[0] == signature and known[1].file.expansion is None:
            return known[1]
        tool = _read(path)
        self._read[path] = signature, tool
        return tool

    def _files(self, path: Path) -> list[Path]:
        if not path.is_dir():
            return [path]
        try:
            return sorted(each for each in path.iterdir() if _is_candidate(each))
        except OSError as problem:
            self._say_once(f"{path} is left out: {problem.strerror or problem}")
            return []

    async def _methods(self) -> list[MethodTool]:
        if not self.allow.methods:
            return []
        try:
            self._protocols = (await self._registry.protocols()).protocols
        except (AnswerTimeout, HubUnreachable) as problem:
            self._say_once(f"the methods are those known before: {problem}")
        versions = Counter(name for protocol in self._protocols for name in protocol.methods)
        return [
            of_method(protocol, name, method, versions=versions[name])
            for protocol in self._protocols
            for name, method in sorted(protocol.methods.items())
            if self.allow.allows_method(name)
        ]

    def _say_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._tell(what)


def _signature(path: Path) -> _Signature:
    """What is another one when a file has changed."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_candidate(path: Path) -> bool:
    return path.suffix in ENDINGS and not path.name.startswith(".") and path.is_file()


def _read(path: Path) -> WorkflowTool:
    """The tool that a file is.

    Raises:
        WorkflowInvalid: it is none; the message has every problem with its place.
    """
    file = load(path)
    reading = file.read()
    if reading.workflow is None:
        raise WorkflowInvalid("\n".join(render(reading.problems, file)), reading.problems)
    problem = schema_problem(reading.workflow)
    if problem is not None:
        raise WorkflowInvalid("\n".join(render([problem], file)), [problem])
    return of_workflow(file, reading.workflow)
