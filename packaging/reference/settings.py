"""Settings in Markdown: what gleitzeitd has at hand for the TOML files that are shipped, as definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gleitzeitd.config.environment import variable_name
from gleitzeitd.config.reference import Described, about_section, described
from gleitzeitd.config.shape import keys_of
from gleitzeitd.model.names import Role
from gleitzeitd.plan import Plan, parser, plan_of
from gleitzeitd.providers import BUILTIN
from gleitzeitd.roles import ALIASES, COMPONENTS, ROLES
from reference.words import defined, unmarked

DAEMONS = [role for role in ROLES if role is not Role.PROVIDER]
"""Roles with a file of their own."""
INSTANCES = {Role.EXECUTION_ENGINE, Role.PROVIDER}
"""Roles whose units are templates: one host can have several."""


def plan(*arguments: str) -> Plan:
    """What ``gleitzeitd`` would do."""
    return plan_of(parser().parse_args(arguments), {})


def role_page(role: Role, template: str) -> str:
    """The page of one role's file."""
    (wanted,) = plan(role.file_name).wanted
    known = {
        "role": role.file_name,
        "words": role.value.replace("_", " "),
        "about": ROLES[role].about,
        "check": f"gleitzeitd {role.file_name} --check-config",
        "restart": f"systemctl restart {_glob(role)}",
        "example": _example(wanted.sections),
        "files": "\n\n".join(files_of(role)),
    }
    for name, value in known.items():
        template = template.replace(f"@{name}@", value)
    return template.replace("<!-- sections -->", "\n".join(_sections(wanted.sections)))


def files_of(role: Role) -> list[str]:
    """The files that the role reads, weakest first, marked."""
    found = ["`/etc/gleitzeit/gleitzeit.toml`, `/etc/gleitzeit/gleitzeit.d/*.toml`"]
    found.append(f"`/etc/gleitzeit/{role.file_name}.toml`, `/etc/gleitzeit/{role.file_name}.d/*.toml`")
    if role in INSTANCES:
        folder = f"/etc/gleitzeit/{role.file_name}/"
        found.append(f"`{folder}`*NAME*`.toml`, `{folder}`*NAME*`.d/*.toml`")
    return found


def unit_of(role: Role) -> str:
    """The unit that starts it, without its type, marked; of a template, with a placeholder."""
    return f"`gleitzeit-{role.file_name}`" + ("`@`*NAME*" if role in INSTANCES else "")


def _glob(role: Role) -> str:
    return f"gleitzeit-{role.file_name}" if role not in INSTANCES else f"'gleitzeit-{role.file_name}*'"


def provider_page(template: str) -> str:
    """The page of providers' files: what all have, and what each of the built-in ones has."""
    sections = {name: plan("provider", name).wanted[0].sections for name in BUILTIN}
    common = next(iter(sections.values()))
    own = []
    for name, classes in sections.items():
        own += [f"### The provider {name}", "", about(classes["provider"]), "", "In `[provider]`:", ""]
        own += _keys("provider", classes["provider"])
    shared = {name: cls for name, cls in common.items() if name != "provider"}
    assert all({**classes, "provider": None} == {**common, "provider": None} for classes in sections.values())
    return template.replace("<!-- providers -->", "\n".join(own)).replace(
        "<!-- sections -->", "\n".join(_sections(shared))
    )


def about(cls: type) -> str:
    """What a section is for."""
    return unmarked(about_section(cls))


def _sections(sections: Mapping[str, type]) -> Iterator[str]:
    for name, cls in sections.items():
        yield from (f"### [{name}]", "")
        text = about(cls)
        # Some say no more than their name.
        if text and f"[{name}]" not in text:
            yield from (text, "")
        yield from _keys(name, cls)


def _keys(section: str, cls: type) -> Iterator[str]:
    for one in described((section,), cls):
        if not one.name:
            yield from (f"**[{'.'.join(one.table)}]**", f":   {unmarked(one.about)}", "")
            continue
        variables = [variable_name(section, one.name)] if len(one.table) == 1 else []
        variables += [name for name, key in ALIASES.items() if key == f"{section}.{one.name}"]
        yield from defined(_term(one), [unmarked(one.about), _kind(one, variables)])


def _term(one: Described) -> str:
    if one.required:
        return f"`{one.name} =` (required)"
    return f"`{one.name} =` (not set)" if one.default is None else f"`{one.name} = {one.shown()}`"


def _kind(one: Described, variables: list[str]) -> str:
    # A name that the environment has beside it is said in the text already, for most.
    named = [f"`{name}`" for name in variables if name not in one.about]
    return one.kind + (f" In the environment: {', '.join(named)}." if named else "")


def _example(sections: Mapping[str, type]) -> str:
    """A drop-in that changes one number."""
    for section, cls in sections.items():
        if section in COMPONENTS:
            continue
        for one in described((section,), cls):
            if one.name and isinstance(one.default, int | float) and not isinstance(one.default, bool):
                bounds = keys_of(cls)[one.name].bounds
                values = (one.default * 2, one.default / 2, one.default)
                other = next(each for each in values if not bounds.range_problem(each))
                return f"[{section}]\n{one.name} = {other}"
    raise AssertionError(sections)
