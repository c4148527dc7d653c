"""The commands as data, from click's tree and from argparse's parser; and as Markdown.

Completion and manual pages are both made from this.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from gleitzeitd.cli import cli, reporting
from gleitzeitd.model.names import Role
from gleitzeitd.plan import ALL, BUILTIN, parser
from gleitzeitd.roles import ROLES
from reference.words import defined

_BLOCK = re.compile(r"(?m)^(Examples?|Exit codes):\n((?:[ \t]+.*\n?|\n)+)")
_NAMED = re.compile(r"(?<![\w`./-])(--[a-z][a-z-]*|\b[A-Z][A-Z_]*[A-Z]\b|gleitzeit(?: [a-z]+)?(?![\w.-]))")
"""What is typed, in a sentence of a help text: options, variables, commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option, or an argument, which has no names."""

    names: tuple[str, ...] = ()
    metavar: str = ""
    """What stands for its value; empty: it takes none."""
    choices: tuple[str, ...] = ()
    about: str = ""
    repeated: bool = False
    optional: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, or a group of them."""

    path: tuple[str, ...]
    """``("gleitzeit", "config", "show")``."""
    about: str
    """One sentence."""
    text: str = ""
    """What else there is to say."""
    examples: tuple[str, ...] = ()
    exit_codes: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    arguments: tuple[Option, ...] = ()
    commands: tuple[Command, ...] = field(default=())

    def everywhere(self) -> Iterator[Command]:
        """This one, and all below it."""
        yield self
        for each in self.commands:
            yield from each.everywhere()


# --- from click -----------------------------------------------------------------------------------


def gleitzeit() -> Command:
    """The whole tree."""
    return _from_click(cli, ("gleitzeit",), click.Context(cli))


def _from_click(command: click.Command, path: tuple[str, ...], ctx: click.Context) -> Command:
    text = inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\b", "")
    blocks = {name.rstrip("s"): block for name, block in _BLOCK.findall(f"{text}\n")}
    about, _, rest = _BLOCK.sub("", f"{text}\n").strip().partition("\n\n")
    inner: list[Command] = []
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            if found is not None and not found.hidden:
                inner.append(_from_click(found, (*path, name), click.Context(found, parent=ctx)))
    parameters = [each for each in command.get_params(ctx) if not getattr(each, "hidden", False)]
    return Command(
        path=path,
        about=" ".join(about.split()),
        text=rest.strip(),
        examples=tuple(_lines(blocks.get("Example", ""))),
        exit_codes=tuple(re.split(r"\s{2,}", " ".join(blocks.get("Exit code", "").split("\n")).strip())),
        options=tuple(_option(each) for each in parameters if isinstance(each, click.Option)),
        arguments=tuple(_argument(each) for each in parameters if isinstance(each, click.Argument)),
        commands=tuple(inner),
    )


def _lines(block: str) -> list[str]:
    return inspect.cleandoc(block).splitlines() if block.strip() else []


def _option(option: click.Option) -> Option:
    about = [(option.help or "").strip()]
    kind = option.type
    if isinstance(kind, click.IntRange | click.FloatRange):
        about.append(_range(kind))
    if option.show_default and option.default is not None and not callable(option.default):
        about.append(f"Default: {option.default}.")
    return Option(
        names=tuple(sorted([*option.opts, *option.secondary_opts], key=len)),
        metavar="" if option.is_flag or option.count else _metavar(option, "TEXT"),
        choices=_choices(kind),
        about=" ".join(filter(None, about)),
        repeated=option.multiple,
    )


def _argument(argument: click.Argument) -> Option:
    return Option(
        metavar=_metavar(argument, (argument.name or "").upper()).strip("[]."),
        choices=_choices(argument.type),
        repeated=argument.nargs == -1,
        optional=not argument.required,
    )


def _metavar(parameter: click.Parameter, otherwise: str) -> str:
    if parameter.metavar:
        return parameter.metavar
    if choices := _choices(parameter.type):
        return "|".join(choices)
    if isinstance(parameter.type, click.IntRange | click.FloatRange) or parameter.type is click.INT:
        return "NUMBER"
    return otherwise


def _choices(kind: Any) -> tuple[str, ...]:
    return tuple(map(str, kind.choices)) if isinstance(kind, click.Choice) else ()


def _range(kind: click.IntRange | click.FloatRange) -> str:
    if kind.min is not None and kind.max is not None:
        return f"{kind.min} to {kind.max}."
    if kind.min is not None:
        return f"{'More than' if kind.min_open else 'At least'} {kind.min}."
    return "" if kind.max is None else f"{'Less than' if kind.max_open else 'At most'} {kind.max}."


# --- from argparse --------------------------------------------------------------------------------


def gleitzeitd() -> Command:
    """The daemons' command line."""
    made = parser()
    actions = [each for each in made._actions if each.help is not argparse.SUPPRESS]
    roles = tuple(each.file_name for each in ROLES)
    return Command(
        path=("gleitzeitd",),
        about=made.description or "",
        options=tuple(_from_argparse(each) for each in actions if each.option_strings),
        arguments=(
            Option(metavar="ROLE", choices=(*roles, ALL), optional=False),
            Option(metavar="NAME", choices=BUILTIN),
        ),
    )


def _from_argparse(action: argparse.Action) -> Option:
    choices = tuple(map(str, action.choices or ()))
    metavar = action.metavar or "|".join(choices) or action.dest.upper()
    about = action.help or ""
    return Option(
        names=tuple(sorted(action.option_strings, key=len)),
        metavar="" if action.nargs == 0 else str(metavar),
        choices=choices,
        about=f"{about[0].upper()}{about[1:]}." if about else "",
    )


# --- as Markdown ----------------------------------------------------------------------------------


def roles_in_words() -> str:
    """The roles as definitions."""
    lines: list[str] = []
    for role, spec in ROLES.items():
        name = f"`{role.file_name}`" + (" *NAME*" if role in (Role.PROVIDER, Role.EXECUTION_ENGINE) else "")
        lines += defined(name, [f"{spec.about[0].upper()}{spec.about[1:]}."])
    return "\n".join(lines)


def exit_codes_in_words() -> str:
    """What the command's exit codes mean, from where they are given out."""
    found = re.findall(r"(?<!\w)(\d+) ([a-z].+?)(?=\s{2,}|\n|$)", reporting.__doc__ or "")
    lines: list[str] = []
    for code, about in found:
        lines += defined(f"`{code}`", [f"{about[0].upper()}{about[1:]}."])
    return "\n".join(lines)


def options_in_words(options: tuple[Option, ...]) -> str:
    """Definitions of options."""
    lines: list[str] = []
    for option in options:
        lines += defined(_term(option), [sentence(option.about)])
    return "\n".join(lines)


def commands_in_words(tree: Command) -> str:
    """A subsection for each command; what all of them understand is left out."""
    common = {each.names for each in tree.options}
    lines: list[str] = []
    for command in tree.everywhere():
        if command is tree:
            continue
        lines += [f"### {synopsis(command, common)}", "", sentence(command.about), ""]
        lines += [_text(command.text), ""]
        own = tuple(
            each for each in command.options if each.names not in common and "--help" not in each.names
        )
        if own:
            lines += [options_in_words(own), ""]
        if command.examples:
            lines += ["```", *command.examples, "```", ""]
    return "\n".join(lines)


def synopsis(command: Command, common: set[tuple[str, ...]]) -> str:
    """``gleitzeit run`` [*OPTIONS*] *FILE*, marked."""
    parts = [f"`{' '.join(command.path)}`"]
    own = [each for each in command.options if each.names not in common and "--help" not in each.names]
    for option in own:
        shown = f"`{option.names[-1]}`" + (f" {_value(option)}" if option.metavar else "")
        parts.append(f"[{shown}]" + ("..." if option.repeated else ""))
    for argument in command.arguments:
        shown = _value(argument) + ("..." if argument.repeated else "")
        parts.append(f"[{shown}]" if argument.optional else shown)
    if command.commands:
        parts.append("*COMMAND* ...")
    return " ".join(parts)


def sentence(text: str) -> str:
    """Prose of a help text, with what is typed marked."""
    return _NAMED.sub(_marked, text)


def _marked(found: re.Match[str]) -> str:
    text = found.group()
    # Names of arguments are all capitals too; variables have an underscore, or are known.
    variable = "_" in text or text.startswith(("--", "gleitzeit"))
    return f"`{text}`" if variable else f"*{text}*" if text.isupper() and text not in _WORDS else text


_WORDS = {"JSON", "TOML", "URL", "YAML", "CPU", "UTC", "ISO", "ID"}
"""Capitals that are words."""


def _text(text: str) -> str:
    """Paragraphs; indented lines are shown as they stand."""
    blocks = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines and (lines[0].startswith("  ") or all(line.startswith("gleitzeit ") for line in lines)):
            blocks.append("\n".join(["```", *textwrap.dedent(block).splitlines(), "```"]))
        else:
            blocks.append(sentence(" ".join(block.split())).replace("``", "`"))
    return "\n\n".join(blocks)


def _term(option: Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.names)
    return f"{names} {_value(option)}" if option.metavar else names


def _value(option: Option) -> str:
    if option.choices and option.metavar == "|".join(option.choices):
        return "|".join(f"`{each}`" for each in option.choices)
    return f"*{option.metavar}*"
