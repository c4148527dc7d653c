"""The secrets of one provider's host: where they come from, who may have them, and where they show up again.

They are read when the provider starts, from systemd credentials

    secret.NAME        LoadCredential=secret.NAME:/path, LoadCredentialEncrypted=, ImportCredential=secret.*
    secrets_NAME       LoadCredential=secrets:/directory/, one for each file there
    secrets            LoadCredential=secrets:/file, with lines NAME=VALUE

and from the file that ``[secrets] file`` names, which nobody but its owner may read; the first of them that
has a name counts. A reference gets its value right before the method runs. Whatever has been given out is
masked from then on in all that this provider says, in its journal, too; see :mod:`.masking`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gleitzeitd.bounds import sized
from gleitzeitd.errors import ConfigError, ParameterInvalid, SecretNotAvailable
from gleitzeitd.model import secret
from gleitzeitd.plain import Json
from gleitzeitd.providers.masking import SHORTEST, Masker

SIZE_LIMIT = 64 * 1024
"""Bytes of one secret."""
FILE_LIMIT = 2**20
"""Bytes of a file with several."""
COMMON_FROM = 8
"""Characters from which on a secret is masked in other calls, too, than those that name it."""

_ONE, _OF_DIRECTORY, _FILE = "secret.", "secrets_", "secrets"  # names of credentials
_LINE = re.compile(r"(?:export[ \t]+)?([^=\s]+)[ \t]*=[ \t]*")
_ESCAPABLE = '"\\`$'


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSettings:
    """What ``${secret.name}`` may stand for in this provider's tasks."""

    allowed: list[str] | None = sized(None, most=1000)  # noqa: RUF009 - a field with a factory
    """Names of the secrets that tasks get. If it is not given, all that the provider has; of an empty list,
    none. A task that names another one fails."""
    file: str = sized("", most=4096)
    """Where they are besides systemd's credentials: lines NAME=VALUE, as in an EnvironmentFile= of systemd.
    The file has to belong to the user of the provider, or to root, and its mode to be 0600."""


class Secrets:
    """Names and values, and which values have been given out."""

    def __init__(self, values: Mapping[str, str], allowed: Collection[str] | None = None) -> None:
        self._values = {name: v for name, v in values.items() if allowed is None or name in allowed}
        self._allowed = None if allowed is None else frozenset(allowed)
        self._given_out: set[str] = set()
        self._maskers: dict[frozenset[str], Masker] = {}

    @classmethod
    def of(cls, settings: SecretSettings, environment: Mapping[str, str]) -> Secrets:
        """Read them all.

        Raises:
            ConfigError: one of them cannot be used, or the file is open to others; no message holds a value.
        """
        for name in settings.allowed or ():
            if not secret.is_name(name):
                raise ConfigError(f"secrets.allowed: {name!r}: {_NAMES}")
        values = _of_file(Path(settings.file)) if settings.file else {}
        if directory := environment.get("CREDENTIALS_DIRECTORY", ""):
            values |= _of_credentials(Path(directory))
        return cls(values, settings.allowed)

    def names(self) -> list[str]:
        """Those that tasks can get."""
        return sorted(self._values)

    def missing(self) -> list[str]:
        """Those that tasks might get, and that are not here."""
        return sorted((self._allowed or frozenset()) - self._values.keys())

    def summary(self) -> str:
        """Which there are, by name, for whoever checks the configuration; empty if there is none."""
        missing = [f"{name} (allowed, and not here)" for name in self.missing()]
        named = ", ".join(self.names() + missing)
        return f"secrets: {named}" if named else ""

    def put_in(
        self, parameters: dict[str, Json], python_keys: Collection[str] = ()
    ) -> tuple[dict[str, Json], Masker | None]:
        """The parameters as the method gets them, and what hides the secrets again; None: there are none.

        Raises:
            SecretNotAvailable: one is named that is not here, or that tasks may not have.
            ParameterInvalid: one is named where no value can be written.
        """
        if not secret.open_places(parameters):
            return parameters, self._masker(())
        named = secret.names_in(parameters)
        for name in named:
            if name not in self._values:
                raise SecretNotAvailable(self._why_not(name))
        self._given_out.update(named)
        try:
            whole = secret.put_in(parameters, self._values.__getitem__, python_keys=python_keys)
        except ValueError as problem:
            raise ParameterInvalid(str(problem)) from None
        return whole, self._masker(named)

    def any_given_out(self) -> bool:
        """Whether a task has got one."""
        return bool(self._given_out)

    def hidden(self, text: str) -> str:
        """``text`` without any value that has been given out."""
        masker = self._masker(self._given_out)
        return text if masker is None else masker.text(text)

    def _masker(self, named: Collection[str]) -> Masker | None:
        names = frozenset(named).union(n for n in self._given_out if len(self._values[n]) >= COMMON_FROM)
        if not names:
            return None
        known = self._maskers.get(names)
        if known is None:
            if len(self._maskers) >= 100:
                self._maskers.clear()
            known = self._maskers[names] = Masker(self._values[name] for name in names)
        return known

    def _why_not(self, name: str) -> str:
        if self._allowed is not None and name not in self._allowed:
            return f"the provider gives no secret {name!r} to tasks: its setting secrets.allowed lacks it"
        return (
            f"the provider has no secret {name!r}: its unit loads no systemd credential secret.{name}, nor "
            "one that holds it (LoadCredential=secrets:...), nor is it in a file that its setting "
            "secrets.file names; what was added since the provider started needs a restart"
        )


NO_SECRETS = Secrets({})
"""Of a provider without any: whoever names one is told so."""

_NAMES = "the name of a secret has up to 64 letters, digits and _, and begins with no digit"


def _of_credentials(directory: Path) -> dict[str, str]:
    try:
        files = sorted(directory.iterdir())
    except PermissionError:
        return {}  # commands of ExecReload= may not look into it
    except OSError as problem:
        raise ConfigError(f"{directory}: {problem.strerror}") from problem
    single: dict[str, str] = {}
    of_directory: dict[str, str] = {}
    several: dict[str, str] = {}
    for file in files:
        if file.name == _FILE:
            several = _parsed(_read(file, FILE_LIMIT), file)
        elif file.name.startswith(_ONE):
            single[_named(file.name.removeprefix(_ONE), file)] = _value(file)
        elif file.name.startswith(_OF_DIRECTORY):
            of_directory[_named(file.name.removeprefix(_OF_DIRECTORY), file)] = _value(file)
    return several | of_directory | single


def _value(file: Path) -> str:
    text = _read(file, SIZE_LIMIT)
    # Editors and echo end a file with a newline, which is hardly ever meant.
    return _checked(text.removesuffix("\n").removesuffix("\r"), str(file))


def _read(file: Path, limit: int) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: a secret is text in UTF-8, and this is not") from None
    except OSError as problem:
        raise ConfigError(f"{file}: {problem.strerror}") from problem
    if len(data) > limit:
        raise ConfigError(f"{file}: more than {limit} bytes")
    return text


def _named(name: str, where: object) -> str:
    if not secret.is_name(name):
        raise ConfigError(f"{where}: {_NAMES}")
    return name


def _checked(value: str, where: str) -> str:
    if len(value) < SHORTEST:
        raise ConfigError(
            f"{where}: a secret has at least {SHORTEST} characters: a shorter one cannot be hidden in what "
            "tasks say"
        )
    if len(value) > SIZE_LIMIT:
        raise ConfigError(f"{where}: a secret has at most {SIZE_LIMIT} characters")
    if "\0" in value:
        raise ConfigError(f"{where}: a secret contains no zero byte")
    return value


def _of_file(file: Path) -> dict[str, str]:
    """What ``[secrets] file`` names.

    Raises:
        ConfigError: it is not there, or somebody else may read or change it, or a line is wrong.
    """
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"secrets.file: {file}: is no file")
            if status.st_mode & 0o077:
                raise ConfigError(
                    f"secrets.file: {file}: its mode is {stat.S_IMODE(status.st_mode):04o}, so that others "
                    f"may get at it; expected 0600: chmod 600 {file}"
                )
            if os.geteuid() and status.st_uid not in (0, os.geteuid()):
                raise ConfigError(
                    f"secrets.file: {file}: belongs to user {status.st_uid}; expected {os.geteuid()}, who "
                    "runs the provider, or root"
                )
    except OSError as problem:
        raise ConfigError(f"secrets.file: {file}: {problem.strerror}") from problem
    return _parsed(_read(file, FILE_LIMIT), file)


def _parsed(text: str, file: Path) -> dict[str, str]:
    """NAME=VALUE as systemd.exec(5) has it for EnvironmentFile=."""
    values: dict[str, str] = {}
    reader = _Lines(text, file)
    for name, value, place in reader.assignments():
        values[_named(name, place)] = _checked(value, place)
    return values


class _Lines:
    """Goes through a file of assignments. Messages name lines, and nothing of what they hold."""

    def __init__(self, text: str, file: Path) -> None:
        self._text = text.replace("\r\n", "\n")
        self._file = file
        self._at = 0

    def assignments(self) -> Iterator[tuple[str, str, str]]:
        """Name, value, and place. Raises ConfigError."""
        while self._at < len(self._text):
            if self._text[self._at] in " \t\n":
                self._at += 1
            elif self._text[self._at] in "#;":
                self._at = self._end_of_line()
            else:
                place = self._place()
                start = _LINE.match(self._text, self._at)
                if start is None:
                    raise ConfigError(f"{place}: expected NAME=VALUE")
                self._at = start.end()
                yield start.group(1), self._value(), place

    def _place(self) -> str:
        return f"{self._file}:{self._text.count(chr(10), 0, self._at) + 1}"

    def _end_of_line(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _value(self) -> str:
        parts: list[str] = []
        while self._at < len(self._text) and (char := self._text[self._at]) != "\n":
            if char in "'\"":
                parts.append(self._quoted(char))
            elif char == "\\":
                following = self._text[self._at + 1 : self._at + 2]
                parts.append("" if following == "\n" else following)
                self._at += 2
            elif char in " \t":
                blank = self._at
                while self._text[self._at : self._at + 1] in (" ", "\t"):
                    self._at += 1
                if self._text[self._at : self._at + 1] not in ("", "\n"):  # at its end they do not count
                    parts.append(self._text[blank : self._at])
            else:
                parts.append(char)
                self._at += 1
        return "".join(parts)

    def _quoted(self, quote: str) -> str:
        place = self._place()
        self._at += 1
        parts: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == quote:
                return "".join(parts)
            if char == "\\" and quote == '"':
                following = self._text[self._at : self._at + 1]
                self._at += 1
                if following != "\n":  # a line that goes on
                    parts.append(following if following in _ESCAPABLE else f"\\{following}")
            else:
                parts.append(char)
        raise ConfigError(f"{place}: the quote is never closed")
