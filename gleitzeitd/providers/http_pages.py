"""Lists that servers give out in pages: where the items are, and which page is the next.

Three ways are understood: the header ``Link`` with ``rel="next"`` (RFC 8288), a cursor in the body, and
numbers of pages. A page is fetched from the server of the first one only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from yarl import URL

from gleitzeitd.errors import ParameterInvalid, ResultInvalid
from gleitzeitd.plain import Json
from gleitzeitd.providers.http_access import same_origin

By = Literal["link", "cursor", "page"]


class Place(NamedTuple):
    """Where a page is."""

    url: str
    params: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """How a server divides what it has."""

    by: By = "link"
    items: str = ""
    """Path of the list in a body: ``data.items``. Empty: the body is the list."""
    cursor: str = ""
    """Path of the next page's cursor, or of its address."""
    cursor_param: str = ""
    """Parameter of the query that takes the cursor. Empty: it is an address."""
    page_param: str = "page"
    first_page: int = 1

    def check(self) -> None:
        """Raises ParameterInvalid."""
        if self.by == "cursor" and not self.cursor:
            raise ParameterInvalid("by cursor: expected the path of the cursor in the body")
        if self.by != "cursor" and (self.cursor or self.cursor_param):
            raise ParameterInvalid(f"by {self.by}: cursor and cursor_param go with by: cursor")


@dataclass(slots=True)
class Pages:
    """A list that is being fetched."""

    paging: Paging
    first: Place
    number: int = 0
    """Pages that were read."""
    items: list[Json] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def start(self) -> Place:
        """The first page."""
        return self._marked(self._numbered() if self.paging.by == "page" else self.first)

    def take(self, body: Json, url: str, links: Mapping[str, Any]) -> Place | None:
        """Take a page's items; the next page, or None if it was the last.

        ``links`` are those of the header, by their relation.

        Raises:
            ResultInvalid: there is no list, or the next page is another server's, or one that was read.
        """
        found = items_in(body, self.paging.items)
        self.number += 1
        self.items += found
        place = self._next(body, url, links, bool(found))
        return None if place is None else self._marked(place)

    def _next(self, body: Json, url: str, links: Mapping[str, Any], more: bool) -> Place | None:
        if self.paging.by == "page":
            return self._numbered() if more else None
        if self.paging.by == "link":
            link = next((links[relation] for relation in links if "next" in relation.lower().split()), None)
            return None if link is None else self._at(url, str(link))
        cursor = at_path(body, self.paging.cursor)
        if cursor is None or cursor is False or cursor == "":
            return None
        if not isinstance(cursor, (str, int)):
            raise ResultInvalid(f"page {self.number}: {self.paging.cursor}: expected a text or a number")
        if not self.paging.cursor_param:
            return self._at(url, str(cursor))
        return Place(self.first.url, {**(self.first.params or {}), self.paging.cursor_param: str(cursor)})

    def _numbered(self) -> Place:
        number = self.paging.first_page + self.number
        return Place(self.first.url, {**(self.first.params or {}), self.paging.page_param: number})

    def _at(self, url: str, link: str) -> Place:
        try:
            target = URL(url).join(URL(link))
            same = same_origin(target, URL(self.first.url))
        except ValueError as problem:
            raise ResultInvalid(f"page {self.number}: its next page is no address: {problem}") from problem
        if not same:  # headers of the task may be secrets of this server
            raise ResultInvalid(f"page {self.number}: its next page is on another server: {target.origin()}")
        return Place(str(target), None)

    def _marked(self, place: Place) -> Place:
        mark = f"{place.url} {sorted((place.params or {}).items(), key=str)}"
        if mark in self._seen:
            raise ResultInvalid(f"page {self.number}: its next page is one that was read before")
        self._seen.add(mark)
        return place


def items_in(body: Json, path: str) -> list[Json]:
    """The list at ``path``; without a path, a body that is no list is one item.

    Raises:
        ResultInvalid: what is there is no list.
    """
    found = at_path(body, path)
    if isinstance(found, list):
        return found
    if not path and body is not None:
        return [body]
    raise ResultInvalid(f"{path or 'the body'}: expected a list")


def at_path(body: Json, path: str) -> Json:
    """What is at ``data.items`` or ``results.0.id``; None if there is nothing."""
    found = body
    for step in path.split(".") if path else ():
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal() and len(step) < 10 and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found
