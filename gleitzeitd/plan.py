"""What a command line asks for: the roles that a process is to play, and their settings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gleitzeitd import __version__
from gleitzeitd.config import DIRECTORY, Loaded, config_files, instance_file, load, reference, value_in
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.names import Role
from gleitzeitd.plain import did_you_mean
from gleitzeitd.roles import ALIASES, COMPONENTS, EVERYBODY, ROLES, foreign_sections
from gleitzeitd.runtime.security import find_token
from gleitzeitd.runtime.state import database_for

if TYPE_CHECKING:
    from gleitzeitd.runtime.assembly import Assembly
    from gleitzeitd.runtime.tls import Credentials, Trust

ALL, KEYGEN = "all", "keygen"
DATABASE = "sqlite.path"
CLASS = ("provider", "module")
"""The section and the key that name a provider's class, and so decide which settings it has."""
PROTOCOL = ("provider", "protocol")
"""The key that names the file of its protocol, beside the class."""
BUILTIN = ("echo", "python", "shell", "http", "llm", "mcp", "grpc")
"""As ``gleitzeitd.providers.BUILTIN``, which takes long to import."""


# --- the command line -----------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line, as far as argparse can say it."""
    lines = [f"  {role.file_name:21} {spec.about}" for role, spec in ROLES.items()]
    lines += [
        f"  {'provider NAME':21} NAME is one of {', '.join(BUILTIN)}, or that of a file",
        f"  {'execution-engine NAME':21} one more of them on a host, with a file of its own",
        f"  {ALL:21} all of them in one process",
        f"  {KEYGEN:21} makes the token that they show to the hub; {KEYGEN} --help says more",
    ]
    made = argparse.ArgumentParser(
        prog="gleitzeitd",
        usage="gleitzeitd ROLE [NAME] [OPTIONS]",
        description="One daemon of gleitzeit.",
        epilog="roles:\n"
        + "\n".join(lines)
        + "\n\nSettings: /etc/gleitzeit/ROLE.toml, and ROLE.d/*.toml beside it; those of a NAME are in "
        "providers/NAME.toml\nor execution-engine/NAME.toml. --print-config shows all of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("role", metavar="ROLE", help="see below")
    made.add_argument("name", metavar="NAME", nargs="?", default="", help="which provider, or engine")
    made.add_argument(
        "--module", metavar="MODULE:CLASS", default="", help="a class, or module, of a provider of your own"
    )
    made.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="read this file instead of those in /etc/gleitzeit; can be repeated",
    )
    made.add_argument("--hub", metavar="URL", action="append", default=[], help="a hub; can be repeated")
    made.add_argument(
        "--insecure",
        action="store_true",
        help="of a hub: ask for no token, and let in whoever is on this host",
    )
    made.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="what is logged")
    made.add_argument(
        "--check-config", action="store_true", help="say what is wrong with the configuration, and exit"
    )
    made.add_argument(
        "--print-config", action="store_true", help="print all settings as TOML, with their meanings"
    )
    made.add_argument(
        "--effective",
        action="store_true",
        help="with --print-config: the values in force, and where each is from",
    )
    made.add_argument("--version", action="version", version=f"gleitzeitd {__version__}")
    return made


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Exits with 2 and a message if it makes no sense."""
    known = parser()
    options, refuse = known.parse_args(arguments), known.error
    names = [*(role.file_name for role in ROLES), ALL]
    options.role = options.role.replace("_", "-")
    if options.role not in names:
        nearest = did_you_mean(options.role, names) or f", expected one of {', '.join(names)}"
        refuse(f"there is no role {options.role!r}{nearest}")
    named = {Role.PROVIDER.file_name, Role.EXECUTION_ENGINE.file_name}
    if options.name and options.role not in named:
        refuse(f"{options.name}: only the roles {' and '.join(sorted(named))} have a name")
    if options.module and options.role != Role.PROVIDER.file_name:
        refuse("--module: only the role provider has one")
    if options.role == Role.PROVIDER.file_name and not (options.name or options.module):
        refuse(f"which provider? {', '.join(BUILTIN)}, or --module MODULE:CLASS")
    if options.hub and options.role in (Role.HUB.file_name, ALL):
        refuse(f"--hub: the role {options.role} connects to no other hub")
    if options.insecure and options.role not in (Role.HUB.file_name, ALL):
        refuse(f"--insecure: it is the hub that asks for tokens, and not the role {options.role}")
    if options.effective and not options.print_config:
        refuse("--effective goes with --print-config")
    return options


# --- the configuration ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A role that this process plays, and its settings."""

    role: Role
    label: str
    """``queue-manager``, ``provider-python``."""
    assembly: Assembly | None
    """None: the hub."""
    loaded: Loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    role: Role
    label: str
    sections: dict[str, type]
    assembly: Assembly | None = None
    instance: str = ""
    """Its name among several of this role on the host."""
    apart: tuple[tuple[str, str], ...] = (CLASS,)
    """Keys of its files that are no settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What this process is to be, and where its settings come from."""

    title: str
    wanted: list[_Wanted]
    environment: Mapping[str, str]
    files: list[Path] = field(default_factory=list)
    hub_urls: list[str] = field(default_factory=list)
    log_level: str = ""
    insecure: bool = False

    def reference(self) -> str:
        """The file as it is shipped."""
        sections: dict[str, type] = {}
        for one in self.wanted:
            if len(self.wanted) == 1 or one.role is not Role.PROVIDER:
                sections.update({k: v for k, v in one.sections.items() if k not in COMPONENTS})
        common = COMPONENTS if len(self.wanted) == 1 and self.wanted[0].assembly is not None else EVERYBODY
        return reference({**sections, **common}, self.title)

    def load(self) -> list[Part]:
        """Read all files anew.

        Raises:
            ConfigError: with a line for everything that is wrong.
        """
        parts, problems = [], []
        for one in self.wanted:
            try:
                parts.append(self._load(one))
            except ConfigError as problem:
                problems += [line for line in str(problem).splitlines() if line not in problems]
        if problems:
            raise ConfigError("\n".join(problems))
        return parts

    def _load(self, one: _Wanted) -> Part:
        # In files that are given for all roles, [provider] cannot say which provider it means.
        several = len(self.wanted) > 1 and one.role is Role.PROVIDER and bool(self.files)
        loaded = load(
            one.sections,
            files=[] if several else config_files(one.role, self.files, instance=one.instance),
            environment=self.environment,
            foreign=foreign_sections(set(one.sections)),
            aliases=ALIASES,
            apart=one.apart,
        )
        self._override(loaded, "connection", "hub_urls", self.hub_urls, "--hub")
        self._override(loaded, "log", "level", self.log_level, "--log-level")
        self._override(loaded, "security", "insecure", self.insecure, "--insecure")
        if loaded.origin.get(DATABASE) == "default":
            sqlite = loaded.settings["sqlite"]
            path = database_for(sqlite.path, self.environment, os.getuid())
            loaded.settings["sqlite"] = replace(sqlite, path=path)
        return Part(role=one.role, label=one.label, assembly=one.assembly, loaded=loaded)

    @staticmethod
    def _override(loaded: Loaded, section: str, key: str, value: Any, option: str) -> None:
        if not value or section not in loaded.settings:
            return
        try:
            loaded.settings[section] = replace(loaded.settings[section], **{key: value})
        except MalformedData as problem:
            raise ConfigError(f"{option}: {problem.problem}") from None
        loaded.origin[f"{section}.{key}"] = option

    def check(self, parts: list[Part]) -> list[str]:
        """What can be found out without running anything: lines for whoever wanted it checked.

        Raises:
            ConfigError: it cannot work.
        """
        from gleitzeitd.runtime.gate import gate_for
        from gleitzeitd.runtime.hub_address import check_exposure
        from gleitzeitd.runtime.identity import make_identity
        from gleitzeitd.runtime.tls import hides_credentials

        lines = []
        for part in parts:
            self.token(part)
            if part.assembly is None:
                security = part.loaded.settings["security"]
                gate_for(security, self.environment)
                check_exposure(part.loaded.settings["hub"].host, [], insecure=security.insecure)
                if not hides_credentials(self.environment):
                    self.credentials(part)
            else:
                if not hides_credentials(self.environment):
                    self.trust(part)
                component_id = part.loaded.settings["connection"].component_id
                built = part.assembly.build(part.loaded.settings, make_identity(part.role, component_id))
                if built.about:
                    lines.append(f"{part.label}: {built.about}" if len(parts) > 1 else built.about)
        return lines

    def token(self, part: Part) -> str | None:
        """Raises ConfigError."""
        return find_token(part.loaded.settings["security"].token_file, self.environment, role=part.role)

    def credentials(self, part: Part) -> Credentials | None:
        """The certificate of a hub, if it has one. Raises ConfigError."""
        from gleitzeitd.runtime.hub_tls import credentials_of

        settings = part.loaded.settings
        return credentials_of(settings["hub"], settings["security"], self.environment)

    def trust(self, part: Part) -> Trust:
        """What a component takes hubs' certificates by. Raises ConfigError."""
        from gleitzeitd.runtime.tls import Trust

        made = Trust(part.loaded.settings["security"], self.environment)
        for url in part.loaded.settings["connection"].hub_urls:
            made.context(url)
        return made


def parts_of(arguments: Sequence[str], environment: Mapping[str, str]) -> list[Part]:
    """The settings that a daemon with this command line would have, and where each of them is from.

    Raises:
        ConfigError: with a line for everything that is wrong.
    """
    return plan_of(parsed(arguments), environment).load()


def plan_of(options: argparse.Namespace, environment: Mapping[str, str]) -> Plan:
    """What the command line asks for.

    Raises:
        ConfigError: there is no such provider, or no file of this name.
    """
    if options.role == ALL:
        from gleitzeitd.runtime.assembly import usable_providers

        wanted = [_hub(), *(_component(role) for role, spec in ROLES.items() if spec.assembly is not None)]
        # The engine last: it begins to work as soon as it is there.
        wanted[-1:-1] = [_provider(name) for name in usable_providers()]
        assert wanted[-1].role is Role.EXECUTION_ENGINE
        title = "Gleitzeit: settings of all roles (gleitzeitd all)."
    elif options.role == Role.PROVIDER.file_name:
        if options.module:
            sys.path.append(str(Path.cwd()))
        spec = options.module or _class_of(options.name, options.config)
        wanted = [_provider(options.name, spec, _protocol_of(options.name, options.config) if spec else None)]
        title = f"Gleitzeit: settings of the provider {wanted[0].instance}."
    else:
        role = next(role for role in ROLES if role.file_name == options.role)
        if options.name and not options.config and not (file := instance_file(role, options.name)).exists():
            raise ConfigError(
                f"{file}: does not exist. It holds the settings of this {role.file_name}, in "
                f"the form of {DIRECTORY / role.file_name}.toml, and may be empty"
            )
        wanted = [_hub() if role is Role.HUB else _component(role, options.name)]
        title = f"Gleitzeit: settings of the {role.value.replace('_', ' ')}, which {ROLES[role].about}."
    return Plan(
        title=title,
        wanted=wanted,
        environment=environment,
        files=options.config,
        hub_urls=options.hub,
        log_level=options.log_level or "",
        insecure=options.insecure,
    )


def _hub() -> _Wanted:
    from gleitzeitd.machines.hub_settings import Settings

    return _Wanted(role=Role.HUB, label=Role.HUB.file_name, sections={"hub": Settings, **EVERYBODY})


def _component(role: Role, name: str = "") -> _Wanted:
    make = ROLES[role].assembly
    assert make is not None
    assembly = make()
    sections = {**assembly.sections, **COMPONENTS}
    label = f"{role.file_name}-{name}" if name else role.file_name
    return _Wanted(role=role, label=label, sections=sections, assembly=assembly, instance=name)


def _class_of(name: str, given: Sequence[Path]) -> str:
    """``module:Class`` of the provider of this name; empty for one that is built in."""
    found = value_in(config_files(Role.PROVIDER, given, instance=name), *CLASS)
    if found is not None:
        spec, place = found
        if type(spec) is not str or not spec.strip():
            raise ConfigError(f'{place}: {".".join(CLASS)}: expected text like "package.module:Class"')
        return spec.strip()
    if name in BUILTIN:
        return ""
    file = given[0] if given else instance_file(Role.PROVIDER, name)
    raise ConfigError(
        f"{file}: {'names no class' if file.exists() else 'does not exist'}, and no provider is called "
        f"{name!r}{did_you_mean(name, BUILTIN)} (built in: {', '.join(BUILTIN)}). For one of your own, say "
        'there: [provider] module = "package.module:Class"'
    )


def _protocol_of(name: str, given: Sequence[Path]) -> Path | None:
    """The file with the protocol of a provider of one's own, if it is not in its code."""
    if not name and not given:
        return None  # a class alone has no file
    found = value_in(config_files(Role.PROVIDER, given, instance=name), *PROTOCOL)
    if found is None:
        return None
    path, place = found
    if type(path) is not str or not path.strip():
        raise ConfigError(f"{place}: {'.'.join(PROTOCOL)}: expected the path of a file, as weather.yaml")
    # As an include: it is looked for from where the file lies that names it.
    return Path(place.rpartition(":")[0]).parent / path.strip()


def _provider(name: str, module: str = "", protocol: Path | None = None) -> _Wanted:
    from gleitzeitd.runtime.assembly import provider

    assembly = provider(name, module, protocol)
    name = name or module.rpartition(":")[2].lower()
    return _Wanted(
        role=Role.PROVIDER,
        label=f"provider-{name}",
        sections={**assembly.sections, **COMPONENTS},
        assembly=assembly,
        instance=name,
        apart=(CLASS, PROTOCOL) if protocol is not None else (CLASS,),
    )
