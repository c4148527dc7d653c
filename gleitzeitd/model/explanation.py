"""What each error means: its cause, what the system does by itself, and what there is to do. And what some
records are that are no errors.

One source for three readers: the journal's catalogue (``journalctl -x``), ``gleitzeit explain``, and the
record that reports the error, whose MESSAGE_ID leads to the entry.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator

from gleitzeitd.errors import GleitzeitError
from gleitzeitd.model.explanation_texts import RECORDS as RECORD_TEXTS
from gleitzeitd.model.explanation_texts import TEXTS
from gleitzeitd.plain import did_you_mean
from gleitzeitd.record import record

WIDTH = 78
"""Characters of a line of an explanation."""

_NAMESPACE = "gleitzeit.error:"


@record
class Explanation:
    """The entry of an error, or of a kind of records, in the catalogue."""

    code: int
    """0: it is no error."""
    name: str
    retryable: bool
    subject: str
    """What has happened, in one line."""
    cause: str
    itself: str
    """What the system does about it."""
    remedy: str
    """What there is to do."""
    commands: tuple[str, ...] = ()
    """Those that help, as one types them; capital letters stand for what differs."""

    @property
    def message_id(self) -> str:
        """128 bits as 32 hex digits: the number's, or the name's, for ever."""
        return message_id(self.code) if self.code else _id_of(f"gleitzeit.record:{self.name}")

    def title(self) -> str:
        """``TASK_TIMEOUT (-29003): A task took longer than it may``."""
        return f"{self.name} ({self.code}): {self.subject}" if self.code else f"{self.name}: {self.subject}"

    def body(self) -> str:
        """The paragraphs below the title."""
        parts = [
            _filled("", self.cause),
            _filled("By itself: ", self.itself),
            _filled("To do: ", self.remedy),
        ]
        if self.commands:
            parts.append("\n".join(f"    {command}" for command in self.commands))
        return "\n\n".join(parts)


def message_id(code: int) -> str:
    """The journal's MESSAGE_ID of an error's number: the same in every release, and nobody else's."""
    return _id_of(f"{_NAMESPACE}{code}")


def _id_of(name: str) -> str:
    digest = bytearray(hashlib.sha256(name.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # RFC 9562, 5.8: a name-based UUID of our own making
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


def _filled(label: str, text: str) -> str:
    return textwrap.fill(label + text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _classes(kind: type[GleitzeitError]) -> Iterator[type[GleitzeitError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _classes(each)


def _explained() -> dict[str, Explanation]:
    found: dict[str, Explanation] = {}
    for kind in _classes(GleitzeitError):
        text = TEXTS.get(kind.name)
        if text is None:
            continue  # somebody's own error, with a number of its own
        subject, cause, itself, remedy, *commands = text
        # Of a class and its base of one number, the one that can be tried again is raised.
        retryable = kind.retryable or (kind.name in found and found[kind.name].retryable)
        found[kind.name] = Explanation(
            code=kind.code,
            name=kind.name,
            retryable=retryable,
            subject=subject,
            cause=cause,
            itself=itself,
            remedy=remedy,
            commands=tuple(commands),
        )
    return found


EXPLANATIONS: dict[str, Explanation] = dict(sorted(_explained().items(), key=lambda pair: -pair[1].code))
"""By name, in the order of the numbers."""
RECORDS: dict[str, Explanation] = {
    name: Explanation(
        code=0,
        name=name.upper(),
        retryable=False,
        subject=subject,
        cause=cause,
        itself=itself,
        remedy=remedy,
        commands=tuple(commands),
    )
    for name, (subject, cause, itself, remedy, *commands) in RECORD_TEXTS.items()
}
"""By the message of the records: what is worth finding, and no error."""
RECORD_IDS: dict[str, str] = {message: each.message_id for message, each in RECORDS.items()}
MESSAGE_IDS: dict[str, str] = {name: each.message_id for name, each in EXPLANATIONS.items()}
"""The journal's MESSAGE_ID by the name of the error."""


def find(text: str) -> Explanation | None:
    """The entry of a number (with or without minus), or of a name in any case and with any separator."""
    wanted = text.strip(" []()\t\n").upper().replace("-", "_").replace(" ", "_")
    digits = wanted.lstrip("_")
    if digits.isdecimal():
        return next((each for each in EXPLANATIONS.values() if -each.code == int(digits)), None)
    known = {**EXPLANATIONS, **{each.name: each for each in RECORDS.values()}}
    by_id = (each for each in known.values() if each.message_id.upper() == wanted)
    return known.get(wanted) or next(by_id, None)


def suggestion(text: str) -> str:
    """``, did you mean TASK_TIMEOUT?``, or nothing."""
    wanted = text.strip().upper().replace("-", "_").replace(" ", "_")
    if wanted.lstrip("_").isdecimal():
        return did_you_mean(f"-{wanted.lstrip('_')}", [str(each.code) for each in EXPLANATIONS.values()])
    return did_you_mean(wanted, EXPLANATIONS)


def catalogue() -> str:
    """All entries as a journal catalogue (journalctl --update-catalog)."""
    head = "# Generated from gleitzeitd/model/explanation_texts.py: ./dev reference writes it again.\n"
    return head + "".join(_entry(each) for each in (*EXPLANATIONS.values(), *RECORDS.values()))


def _entry(one: Explanation) -> str:
    return (
        f"\n-- {one.message_id}\n"
        f"Subject: {one.title()}\n"
        "Defined-By: gleitzeit\n"
        "Documentation: man:gleitzeit(7)\n"
        f"\n{one.body()}\n"
    )
