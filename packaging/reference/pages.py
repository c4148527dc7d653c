"""Every manual page: its file's name to its text in roff. The frames are in packaging/manual."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gleitzeitd import __version__
from gleitzeitd.roles import ALIASES, ROLES
from gleitzeitd.runtime.journal import FIELDS
from reference import commands, events, settings, workflow
from reference.roff import page
from reference.words import defined

UNITS = Path(__file__).resolve().parent.parent.parent / "systemd"
FRAMES = Path(__file__).resolve().parent.parent / "manual"

JOURNAL = {
    "GLEITZEIT_WORKFLOW": "The workflow's id.",
    "GLEITZEIT_TASK": "The task's id.",
    "GLEITZEIT_ATTEMPT": "The number of its attempt, from 1.",
    "GLEITZEIT_ROLE": "The role of the daemon that wrote the record: `queue_manager`.",
    "GLEITZEIT_COMPONENT": "The id of the component that wrote it.",
    "GLEITZEIT_CORRELATION": "The same in all that came of one request; `gleitzeit trace` takes it too.",
    "GLEITZEIT_EVENT": "The event that it is about; `gleitzeit-events`(7).",
    "GLEITZEIT_ERROR": "The error that it is about.",
}


def all_pages() -> dict[str, str]:
    """``gleitzeit.7`` to its text, for every page."""
    made = {
        "gleitzeit.1": _gleitzeit_1(),
        "gleitzeitd.8": _gleitzeitd_8(),
        "gleitzeit.7": _gleitzeit_7(),
        "gleitzeit-events.7": events.page(_frame("gleitzeit-events.7")),
        "gleitzeit-workflow.5": workflow.page(_frame("gleitzeit-workflow.5")),
        "gleitzeit-protocol.5": _frame("gleitzeit-protocol.5"),
        "gleitzeit-provider.toml.5": settings.provider_page(_frame("gleitzeit-provider.toml.5")),
    }
    for role in settings.DAEMONS:
        made[f"gleitzeit-{role.file_name}.toml.5"] = settings.role_page(role, _frame("role.toml.5"))
    # Without the last number, so that a release that only mends something leaves the pages alone.
    version = f"Gleitzeit {__version__.rpartition('.')[0]}"
    return {name: page(source, version=version) for name, source in made.items()}


def _frame(name: str) -> str:
    return (FRAMES / f"{name}.md").read_text(encoding="utf-8")


def _filled(name: str, **parts: str) -> str:
    text = _frame(name)
    for mark, part in parts.items():
        comment = f"<!-- {mark.replace('_', ' ')} -->"
        assert comment in text, f"{name}.md: {comment}"
        text = text.replace(comment, part)
    return text


def _gleitzeit_1() -> str:
    tree = commands.gleitzeit()
    return _filled(
        "gleitzeit.1",
        options=commands.options_in_words(tree.options),
        commands=commands.commands_in_words(tree),
        exit_codes=commands.exit_codes_in_words(),
    )


def _gleitzeitd_8() -> str:
    aliases: list[str] = []
    for name, key in ALIASES.items():
        section, _, field = key.partition(".")
        aliases += defined(f"`{name}`", [f"`{field}` in `[{section}]`."])
    return _filled(
        "gleitzeitd.8",
        roles=commands.roles_in_words(),
        options=commands.options_in_words(commands.gleitzeitd().options),
        aliases="\n".join(aliases),
        pages=_settings_pages(),
    )


def _gleitzeit_7() -> str:
    fields: list[str] = []
    for name in dict.fromkeys(FIELDS.values()):
        fields += defined(f"`{name}`", [JOURNAL.get(name, "")])
    roles = "\n".join(f"- *{role.value.replace('_', ' ')}*: {spec.about}" for role, spec in ROLES.items())
    pages = _settings_pages()
    return _filled(
        "gleitzeit.7",
        roles=roles,
        journal="\n".join(fields),
        units="\n".join(_units()),
        pages=pages,
        settings_pages=pages.rstrip(", ") + ".",
    )


def _units() -> Iterator[str]:
    """The units that are shipped, with their own descriptions."""
    for kind in (".target", ".slice", ".socket", ".service"):
        for file in sorted(UNITS.glob(f"*{kind}")):
            found = re.search(
                r"(?m)^Description=(?:Gleitzeit,? (?=.))?(.+)$", file.read_text(encoding="utf-8")
            )
            assert found is not None, f"{file}: no description"
            stem, at, rest = file.name.partition("@")
            about = f"{found[1][0].upper()}{found[1][1:]}.".replace("%i", "*NAME*")
            yield from defined(f"`{stem}@`*NAME*`{rest}`" if at else f"`{stem}`", [about])


def _settings_pages() -> str:
    return "".join(f"`gleitzeit-{role.file_name}.toml`(5), " for role in settings.DAEMONS)
