"""A provider in ten lines: a class whose public methods are the methods of its protocol.

    from gleitzeitd.providers import MethodProvider

    class Weather(MethodProvider):
        \"\"\"What the sky will do.\"\"\"
        protocol_name = "weather/v1"

        async def forecast(self, city: str, days: int = 3) -> dict:
            \"\"\"The weather of the next days.\"\"\"
            return {"city": city, "days": days}

It serves ``weather/forecast``. Schemas come from the type hints (``hints.py`` says which), descriptions
from the docstrings. Parameters and results are checked, defaults applied, time limits and the capacity
enforced; an exception ends the call as a failed execution. A parameter annotated with :class:`MethodCall`
is not one of the protocol's: it gets the call, for ``on_output``, ``on_progress``, ``attempt`` and the rest.

In five lines: a module whose functions have ``@method`` above them. Its protocol is called like the module,
``weather/v1``, or like its variable ``protocol_name``.

A function with ``@method(process=True)`` runs in a process that stays; ``functions.py`` says more. Other
methods with ``def`` run in threads, as many as the capacity. A thread cannot be killed: at a cancel or a
timeout the call waits ``kill_after_seconds`` for it, then gives up on it; its slot stays taken until it
really ends, and ``health`` says so.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, ClassVar, TypeVar, cast, overload

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import ConfigError, ExecutionFailed, MalformedData, ProviderOverloaded, TaskError
from gleitzeitd.model.protocol import Example, Protocol
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.providers.base import MethodCall, Provider, time_limit
from gleitzeitd.providers.binding import Bound, bind, bind_as, summary
from gleitzeitd.providers.declared import check_signature, completed, functions_for, serving
from gleitzeitd.providers.functions import PROCESS, processes_for, runs_in_process
from gleitzeitd.providers.hints import to_json
from gleitzeitd.providers.schema import check_parameters, check_result, check_schema

BUILTIN: dict[str, str] = {
    "echo": "gleitzeitd.providers.echo:EchoProvider",
    "python": "gleitzeitd.providers.python:PythonProvider",
    "shell": "gleitzeitd.providers.shell:ShellProvider",
    "http": "gleitzeitd.providers.http:HttpProvider",
    "llm": "gleitzeitd.providers.llm:LlmProvider",
    "mcp": "gleitzeitd.providers.mcp:McpProvider",
    "grpc": "gleitzeitd.providers.grpc:GrpcProvider",
}
"""The providers that gleitzeitd brings, by name."""
NEEDS: dict[str, tuple[str, ...]] = {"grpc": ("grpc", "google.protobuf")}
"""Modules without which one of them cannot start, and which not every host has."""

F = TypeVar("F", bound=Callable[..., Any])
_MARK, _EXAMPLES = "__gleitzeit__", "__gleitzeit_examples__"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodProviderSettings:
    """What every provider made with the kit can be told."""

    capacity: int = bounded(8, least=1, most=100_000)
    """Calls that run at once; more are refused, and wait in the queue manager."""
    max_result_bytes: int = bounded(8 * 2**20, least=64, most=2**30, unit="bytes")
    """Size of a result as JSON. A larger one fails the task."""
    kill_after_seconds: float = bounded(5.0, least=0, most=600, unit="seconds")
    """Between asking work to end and ending it by force."""


@overload
def method(function: F) -> F: ...


@overload
def method(
    *,
    name: str = "",
    aliases: tuple[str, ...] = (),
    returns: Any = None,
    process: bool = False,
    examples: tuple[Example, ...] = (),
) -> Callable[[F], F]: ...


def method(
    function: Any = None,
    *,
    name: str = "",
    aliases: tuple[str, ...] = (),
    returns: Any = None,
    process: bool = False,
    examples: tuple[Example, ...] = (),
) -> Any:
    """Make a function of a module a method. Or name a method differently (``tool.add``), or several times;
    ``returns`` is a schema for its result; with ``process`` it runs in a process instead of a thread;
    ``examples`` are shown to whoever asks what it takes.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, (name or function.__name__, aliases, returns))
        setattr(function, _EXAMPLES, examples)
        if process:
            setattr(function, PROCESS, True)
        return function

    return mark if function is None else mark(function)


class MethodProvider(Provider):
    """Base of providers whose methods are Python methods; see the module."""

    protocol_name: ClassVar[str]
    """With its version: ``weather/v1``."""
    declared: ClassVar[Protocol | None] = None
    """Its protocol, where a file has it; the code then says nothing about schemas."""
    times_itself: ClassVar[bool] = False
    """True if the methods enforce ``call.timeout``, because their work begins later than the call."""
    Settings: ClassVar[type] = MethodProviderSettings

    def __init__(self, settings: Any = None) -> None:
        """Raises ConfigError if a method's type hints have no JSON form."""
        self.settings = self.Settings() if settings is None else settings
        self._bound = _bound_methods(self) if self.declared is None else _as_declared(self, self.declared)
        self._protocol = self.declared or Protocol(
            name=self.protocol_name,
            description=summary(type(self)),
            methods={name: bound.declared for name, bound in self._bound.items()},
        )
        self._running = 0
        self._abandoned: dict[Future[Any], str] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._processes = processes_for(
            [bound.function for bound in self._bound.values()],
            capacity=self.capacity,
            result_limit=self.settings.max_result_bytes,
            grace_seconds=self.settings.kill_after_seconds,
        )

    def protocol(self) -> Protocol:
        return self._protocol

    @property
    def capacity(self) -> int:
        return cast("int", self.settings.capacity)

    async def start(self) -> None:
        """Raises ConfigError if methods are to run in processes, and none can be started."""
        if self._processes is not None:
            await self._processes.start()

    async def stop(self) -> None:
        if self._processes is not None:
            await self._processes.stop()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def health(self) -> str:
        if self._abandoned:
            names = ", ".join(sorted(set(self._abandoned.values())))
            return f"{len(self._abandoned)} calls did not end when they were told to: {names}"
        return "ok"

    async def call(self, call: MethodCall) -> Json:
        if self.declared is not None:
            call = completed(self.declared, call)
        check_parameters(self._protocol, call.method, call.parameters)
        bound = self._bound[call.method]
        with self._slot():
            async with time_limit(None if self.times_itself else call.timeout):
                result = to_json(await self._work(bound, call))
        check_result(self._protocol, call.method, result, self.settings.max_result_bytes)
        return result

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self._running + len(self._abandoned) >= self.capacity:
            raise ProviderOverloaded(f"{self.protocol_name}: {self.capacity} calls are running already")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _work(self, bound: Bound, call: MethodCall) -> Any:
        try:
            if bound.is_async:
                return await bound.function(**bound.arguments(call))
            if self._processes is not None and runs_in_process(bound.function):
                return await self._processes.call(bound.function, call)
            return await self._in_thread(bound, call)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ExecutionFailed(f"{call.method}: it waited for something that was cancelled") from None
        except TaskError:
            raise
        except (Exception, SystemExit) as error:  # the boundary of foreign code
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise ExecutionFailed(f"{call.method}: {text}") from error

    async def _in_thread(self, bound: Bound, call: MethodCall) -> Any:
        loop = asyncio.get_running_loop()
        open_ = True

        def later(report: Callable[..., None]) -> Callable[..., None]:
            def deliver(*values: Any) -> None:
                if open_:
                    report(*values)

            def in_loop(*values: Any) -> None:
                with suppress(RuntimeError):  # an abandoned thread can outlive the loop
                    loop.call_soon_threadsafe(deliver, *values)

            return in_loop

        call = replace(
            call,
            on_output=later(call.on_output),
            on_partial=later(call.on_partial),
            on_progress=later(call.on_progress),
        )
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.capacity, f"{self.protocol_name} ")
        arguments = bound.arguments(call)
        thread = self._threads.submit(bound.function, **arguments)
        waiter = asyncio.wrap_future(thread)
        try:
            result = await asyncio.shield(waiter)
            await asyncio.sleep(0)  # what the thread has reported is in the loop's queue, before this
        except asyncio.CancelledError:
            thread.cancel()
            await self._give_up(call.method, thread, waiter)
            raise
        finally:
            open_ = False
        return result

    async def _give_up(self, name: str, thread: Future[Any], waiter: asyncio.Future[Any]) -> None:
        """Wait a little for a thread that nobody can stop. A second cancellation ends the waiting."""
        try:
            await asyncio.wait([waiter], timeout=self.settings.kill_after_seconds)
        finally:
            if thread.done():
                with suppress(BaseException):  # nobody wants to know how it ended
                    thread.result()
            else:
                self._abandoned[thread] = name
                waiter.add_done_callback(self._ended_at_last(thread))

    def _ended_at_last(self, thread: Future[Any]) -> Callable[[asyncio.Future[Any]], None]:
        def forget(waiter: asyncio.Future[Any]) -> None:
            self._abandoned.pop(thread, None)
            if not waiter.cancelled():
                waiter.exception()  # or asyncio would complain that nobody has looked

        return forget


def load(spec: str, declared: Protocol | None = None) -> type[Provider]:
    """The provider class that ``my.module:MyProvider`` names, or that ``my.module`` makes with its functions.

    ``declared`` is its protocol, if that is in a file; the class then needs no schema, and no name of one.

    Raises:
        ConfigError: with what is wrong with the name, or with the module.
    """
    module_name, colon, class_name = spec.partition(":")
    if not module_name or (colon and not class_name):
        raise ConfigError(
            f"provider {spec!r}: expected module:Class, as in my.module:MyProvider, or my.module"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"provider {spec!r}: there is no module {error.name}") from error
    except Exception as error:  # the boundary of foreign code
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"provider {spec!r}: {module_name} cannot be imported: {why}") from error
    if not colon:
        return _served(_of_functions(spec, module), declared)
    found = getattr(module, class_name, None)
    if found is None:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(
            f"provider {spec!r}: {module_name} has no {class_name}{did_you_mean(class_name, classes)}"
        )
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise ConfigError(f"provider {spec!r}: {class_name} is no subclass of Provider")
    found = _served(found, declared)
    if missing := sorted(found.__abstractmethods__):
        raise ConfigError(f"provider {spec!r}: {class_name} lacks {', '.join(missing)}")
    if issubclass(found, MethodProvider) and not hasattr(found, "protocol_name"):
        raise ConfigError(f'provider {spec!r}: {class_name} lacks protocol_name = "name/v1"')
    return found


def _served(found: type[Provider], declared: Protocol | None) -> type[Provider]:
    if declared is None:
        return found
    if not issubclass(found, MethodProvider):
        return serving(found, declared)
    named = {"__doc__": found.__doc__, "__module__": found.__module__, "__qualname__": found.__qualname__}
    return type(found.__name__, (found,), {**named, "declared": declared, "protocol_name": declared.name})


def _of_functions(spec: str, module: ModuleType) -> type[Provider]:
    """The provider whose methods are the module's own functions with ``@method``."""
    marked = {
        f"function {name}": staticmethod(value)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and hasattr(value, _MARK) and value.__module__ == module.__name__
    }
    if not marked:
        raise ConfigError(
            f"provider {spec!r}: expected module:Class, or functions with @method in {module.__name__}"
        )
    short = module.__name__.rpartition(".")[2]
    name = getattr(module, "protocol_name", f"{short}/v1")
    return type(short, (MethodProvider,), {**marked, "protocol_name": name, "__doc__": module.__doc__})


def usable() -> list[str]:
    """Names of those that can start on this host; nothing of them is imported."""
    return [name for name in BUILTIN if all(_is_there(module) for module in NEEDS.get(name, ()))]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def builtin(name: str) -> type[Provider]:
    """One of the providers that gleitzeitd brings; nothing of the others is imported.

    Raises:
        ConfigError: there is none of this name.
    """
    spec = BUILTIN.get(name)
    if spec is None:
        raise ConfigError(f"no provider is called {name!r}{did_you_mean(name, BUILTIN)}")
    return load(spec)


def _bound_methods(provider: MethodProvider) -> dict[str, Bound]:
    cls = type(provider)
    prefix = cls.protocol_name.partition("/")[0]
    bound: dict[str, Bound] = {}
    for name in _method_names(cls):
        function = getattr(provider, name)
        own_name, aliases, returns = getattr(function, _MARK, ("", (), None))
        try:
            one = bind(function, returns, getattr(function, _EXAMPLES, ()))
            check_schema(one.declared.parameters)
            check_schema(one.declared.returns)
        except (TypeError, NameError, MalformedData) as error:
            raise ConfigError(f"{cls.__name__}.{name}: {error}") from error
        for exposed in (own_name or name, *aliases):
            bound[f"{prefix}/{exposed}"] = one
    return bound


def _as_declared(provider: MethodProvider, declared: Protocol) -> dict[str, Bound]:
    owner = type(provider).__name__
    functions: dict[str, Callable[..., Any]] = {}
    for name in _method_names(type(provider)):
        function = getattr(provider, name)
        own_name, aliases, _ = getattr(function, _MARK, ("", (), None))
        functions |= dict.fromkeys((own_name or name, *aliases), function)
    bound = {}
    for full, function in functions_for(declared, functions, owner).items():
        try:
            check_signature(full, declared.methods[full], function)
            bound[full] = bind_as(function, declared.methods[full])
        except (TypeError, NameError) as error:
            raise ConfigError(f"{owner}.{function.__name__}: {error}") from error
    return bound


def _method_names(cls: type) -> list[str]:
    """In the order of definition, those of base classes first."""
    inherited = set(dir(MethodProvider))
    classes = [c for c in reversed(cls.__mro__) if issubclass(c, MethodProvider)]
    names = [name for c in classes for name, value in vars(c).items() if _is_method(value)]
    return [name for name in dict.fromkeys(names) if not name.startswith("_") and name not in inherited]


def _is_method(value: Any) -> bool:
    return inspect.isfunction(value) or (isinstance(value, staticmethod) and hasattr(value.__func__, _MARK))
