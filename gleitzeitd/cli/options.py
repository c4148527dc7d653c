"""What all commands share: which hub, which token, and whether a program reads the output.

A value on the command line wins over the environment, the environment over the first configuration file
that has one. All of these options are understood before and after the name of a command.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gleitzeitd.errors import ConfigError
from gleitzeitd.plain import Json
from gleitzeitd.runtime.security import TOKEN_FILE, read_token, why_unreadable

if TYPE_CHECKING:
    from gleitzeitd.runtime.tls import Trust

JOINED = Path("/etc/gleitzeit/joined.toml")
"""What ``gleitzeit join`` has written for the command itself."""
CONFIG_FILES = (Path("/etc/gleitzeit/cli.toml"), Path("/etc/gleitzeit/gleitzeit.toml"), JOINED)
HUB_OF_THIS_HOST = "http://localhost:8000"
"""Where it is, if the host has a token, and nothing says otherwise."""

F = TypeVar("F", bound=Callable[..., Any])


def _say(text: str) -> None:
    click.echo(text, err=True)


class SecondsRange(click.FloatRange):
    """Seconds on a command line; NaN, which no comparison finds, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises click.BadParameter."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail("nan is no number of seconds", param, ctx)
        return seconds


@dataclass(slots=True)
class Options:
    """What was asked for on the command line, and where the rest is found."""

    hub_urls: list[str] = field(default_factory=list)
    token: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    as_json: bool = False
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    config_files: tuple[Path, ...] = CONFIG_FILES
    installed_token: Path = TOKEN_FILE
    """The token of this host; where it exists, its daemons are used."""
    tell: Callable[[str], None] = _say
    """Says something beside the output, as that the hub is away."""
    connect: Any = None
    """What to use instead of ``connection.connected``; for those who embed the commands elsewhere."""

    def hubs(self) -> list[str]:
        """The hubs to use; none: everything runs in this process.

        Raises:
            ConfigError: a configuration file cannot be understood, or an address is none.
        """
        if self.hub_urls:
            return _addresses("--hub", self.hub_urls)
        from_environment = self.environment.get("GLEITZEIT_HUB_URL", "").replace(",", " ").split()
        if from_environment:
            return _addresses("GLEITZEIT_HUB_URL", from_environment)
        urls = self._configured("hub_urls")
        found = _addresses("hub_urls", [urls] if isinstance(urls, str) else list(urls or ()))
        if not found and (why_unreadable(self.installed_token) or self.installed_token.exists()):
            return [HUB_OF_THIS_HOST]
        return found

    def secret(self) -> str | None:
        """The token for the hub, if there is one.

        Raises:
            ConfigError: the file that holds it cannot be read. That of this host need not be readable for
                whoever has named the hub himself.
        """
        if self.token:
            return self.token
        if self.token_file:
            return read_token(Path(self.token_file))
        from_environment = self.environment.get("GLEITZEIT_TOKEN")
        if from_environment:
            return from_environment
        file = self._configured("token_file")
        if file:
            return read_token(Path(str(file)))
        why = why_unreadable(self.installed_token)
        if why is None:
            return read_token(self.installed_token) if self.installed_token.exists() else None
        if self.hub_urls or self.environment.get("GLEITZEIT_HUB_URL"):
            return None
        raise ConfigError(why)

    def trust(self) -> Trust:
        """What hubs' certificates are taken by, and which one we show if we are asked.

        Raises:
            ConfigError: a configuration file cannot be understood.
        """
        from gleitzeitd.runtime.tls import trust_in

        names = ("certificate_file", "key_file", "ca_file")
        said = {
            name: self.environment.get(f"GLEITZEIT_SECURITY_{name.upper()}")
            or str(self._configured(name, "security") or "")
            for name in names
        }
        if said["certificate_file"] and not os.access(said["key_file"] or said["certificate_file"], os.R_OK):
            said["certificate_file"] = said["key_file"] = ""  # not ours to show; the hub says if it wants one
        return trust_in(said["certificate_file"], said["key_file"], self.ca_file or said["ca_file"])

    def _configured(self, key: str, section: str = "connection") -> Json:
        for file in self.config_files:
            value = _section(file, section).get(key)
            if value:
                return value
        return None


class _WithExamples(click.Command):
    """A command whose help keeps the lines of its examples as they are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("help"):
            # What click takes for a paragraph that is not to be filled. Some releases hand over the
            # docstring with its indentation.
            text = inspect.cleandoc(kwargs["help"])
            kwargs["help"] = re.sub(r"(?m)^(?=Examples?:$|Exit codes:$)", "\b\n", text)
        super().__init__(*args, **kwargs)


class Command(_WithExamples):
    """One command."""


class Group(_WithExamples, click.Group):
    """A command with commands of its own; it does something without them, too.

    A word that is none of them is the argument of the one called ``otherwise``.
    """

    otherwise = ""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With the one that is left out put in."""
        if self.otherwise and args and args[0] not in self.commands and not args[0].startswith("-"):
            args = [self.otherwise, *args]
        return super().resolve_command(ctx, args)


def command(name: str) -> Callable[[Callable[..., Any]], Command]:
    """A command of this name; its docstring is its help."""
    return click.command(name, cls=Command)


def group(name: str, *, otherwise: str = "") -> Callable[[Callable[..., Any]], Group]:
    """A group of this name, which can be called without a command."""
    made = type("Group", (Group,), {"otherwise": otherwise})
    return click.group(name, cls=made, invoke_without_command=True)


def _addresses(where: str, urls: list[Json]) -> list[str]:
    for url in urls:
        if not isinstance(url, str) or not re.fullmatch(r"(https?|wss?)://[^/\s]+\S*", url):
            raise ConfigError(f"{where}: expected an address like http://hub:8000, found {url!r}")
    return urls


def _section(file: Path, name: str) -> dict[str, Json]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}  # Most users cannot read the daemons' configuration, and need not.
    try:
        section = tomllib.loads(text).get(name, {})
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(f"{file}: {problem}") from problem
    if not isinstance(section, dict):
        raise ConfigError(f"{file}: {name}: expected a table")
    return section


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> Any:
        if value:
            setattr(ctx.ensure_object(Options), name, list(value) if isinstance(value, tuple) else value)
        return value

    return keep


def json_option(function: F) -> F:
    """``--json``."""
    option = click.option(
        "--json",
        "-j",
        is_flag=True,
        expose_value=False,
        callback=_keep("as_json"),
        help="Print JSON on standard output, and nothing else.",
    )
    return option(function)


def connection_options(function: F) -> F:
    """``--hub``, ``--token``, ``--token-file``, ``--ca-file``, ``--json``."""
    decorators = [
        click.option(
            "--hub",
            "--hub-url",
            metavar="URL",
            multiple=True,
            expose_value=False,
            callback=_keep("hub_urls"),
            help="The hub to use; repeat it for several. Also GLEITZEIT_HUB_URL.",
        ),
        click.option(
            "--token",
            metavar="TEXT",
            expose_value=False,
            callback=_keep("token"),
            help="The token for the hub. Also GLEITZEIT_TOKEN, which other users cannot see.",
        ),
        click.option(
            "--token-file",
            metavar="FILE",
            expose_value=False,
            callback=_keep("token_file"),
            help="A file that holds the token.",
        ),
        click.option(
            "--ca-file",
            metavar="FILE",
            expose_value=False,
            callback=_keep("ca_file"),
            help="The CA (PEM) of a hub that speaks TLS, if this host does not know it.",
        ),
    ]
    function = json_option(function)
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
