from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, ResultInvalid
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.http import HttpProvider, HttpSettings
from gleitzeitd.providers.http_pages import Pages, Paging, Place, at_path, items_in

ALL = list(range(7))


class Library:
    """Gives out the numbers of ALL, three at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failures = 0
        self.server: TestServer | None = None

    async def link(self, request: web.Request) -> web.Response:
        start = self._begin(request, "from")
        headers = {"X-A": request.headers.get("X-A", "")}
        if start + 3 < len(ALL):
            headers["Link"] = (
                f'</link>; rel="first", </link?from={start + 3}&q={request.query.get("q")}>; rel="next"'
            )
        return web.json_response(ALL[start : start + 3], headers=headers)

    async def cursor(self, request: web.Request) -> web.Response:
        start = self._begin(request, "after")
        following = start + 3 if start + 3 < len(ALL) else None
        address = f"/cursor?after={following}" if following else ""
        body = {"data": {"items": ALL[start : start + 3]}, "meta": {"next": following, "address": address}}
        return web.json_response(body)

    async def page(self, request: web.Request) -> web.Response:
        number = self._begin(request, "page")
        return web.json_response({"results": ALL[number * 3 : number * 3 + 3]})

    async def other(self, request: web.Request) -> web.Response:
        link = {"away": "http://127.0.0.2:1/", "again": "/other/again", "none": "http://[::1"}[
            request.match_info["how"]
        ]
        return web.json_response([1], headers={"Link": f'<{link}>; rel="next"'})

    def _begin(self, request: web.Request, key: str) -> int:
        self.asked.append(request.query_string)
        if self.failures:
            self.failures -= 1
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "0"})
        return int(request.query.get(key, 0))


@pytest.fixture
async def library():
    library = Library()
    app = web.Application()
    for name in ("link", "cursor", "page"):
        app.router.add_get(f"/{name}", getattr(library, name))
    app.router.add_get("/other/{how}", library.other)
    async with TestServer(app) as library.server:
        yield library


@pytest.fixture
async def pages(library):
    provider = HttpProvider(HttpSettings(max_result_bytes=4096), {})
    shown: list[float] = []

    async def call(path: str, **parameters):
        parameters = {"url": str(library.server.make_url(path)), **parameters}
        return await provider.call(
            MethodCall(
                method="http/pages", parameters=parameters, on_progress=lambda ratio, _: shown.append(ratio)
            )
        )

    call.shown = shown
    yield call
    await provider.stop()


async def test_links_to_the_next_page_are_followed_to_the_end(pages, library) -> None:
    done = await pages("/link?q=1")
    assert (done["items"], done["count"], done["pages"]) == (ALL, 7, 3)
    assert (done["complete"], done["next"]) == (True, None)
    assert library.asked == ["q=1", "from=3&q=1", "from=6&q=1"]
    assert pages.shown == sorted(pages.shown)


async def test_a_cursor_from_the_body_goes_into_the_query(pages, library) -> None:
    paging = {"by": "cursor", "items": "data.items", "cursor": "meta.next", "cursor_param": "after"}
    done = await pages("/cursor", params={"limit": 3}, **paging)
    assert done["items"] == ALL
    assert library.asked == ["limit=3", "limit=3&after=3", "limit=3&after=6"]


async def test_a_cursor_can_be_an_address(pages) -> None:
    done = await pages("/cursor", by="cursor", items="data.items", cursor="meta.address")
    assert (done["items"], done["complete"]) == (ALL, True)


async def test_numbered_pages_end_with_an_empty_one(pages, library) -> None:
    done = await pages("/page", by="page", first_page=0, items="results")
    assert (done["items"], done["pages"], done["complete"]) == (ALL, 4, True)
    assert library.asked == ["page=0", "page=1", "page=2", "page=3"]


async def test_it_stops_at_a_number_of_pages_and_says_where_it_goes_on(pages, library) -> None:
    done = await pages("/link?q=1", max_pages=2)
    assert (done["items"], done["complete"]) == (ALL[:6], False)
    assert done["next"].endswith("/link?from=6&q=1")
    rest = await pages(done["next"].partition("127.0.0.1")[2].partition("/")[2])
    assert (rest["items"], rest["complete"]) == (ALL[6:], True)


@pytest.mark.parametrize(("most", "complete"), [(2, False), (3, False), (7, True), (8, True)])
async def test_it_stops_at_a_number_of_items(pages, most, complete) -> None:
    done = await pages("/link", max_items=most)
    assert (done["items"], done["complete"]) == (ALL[:most], complete)


async def test_a_page_that_fails_is_fetched_again_and_not_all_of_them(pages, library) -> None:
    library.failures = 2
    assert (await pages("/link?q=1"))["items"] == ALL
    assert library.asked == ["q=1"] * 3 + ["from=3&q=1", "from=6&q=1"]
    library.failures = 1
    with pytest.raises(ExecutionFailed, match="status 503"):
        await pages("/link", retries=0)


@pytest.mark.parametrize(
    ("how", "said"), [("away", "another server"), ("again", "read before"), ("none", "address")]
)
async def test_it_is_not_led_away_or_in_circles(pages, how, said) -> None:
    with pytest.raises(ResultInvalid, match=said):
        await pages(f"/other/{how}")


async def test_more_than_a_result_may_hold_is_refused(pages, library) -> None:
    ALL.extend(range(7, 4000))
    try:
        with pytest.raises(ResultInvalid, match="max_pages or max_items"):
            await pages("/link", max_pages=1000)
    finally:
        del ALL[7:]


async def test_a_list_that_is_not_there_is_an_error(pages) -> None:
    with pytest.raises(ResultInvalid, match="results: expected a list"):
        await pages("/link", items="results")


@pytest.mark.parametrize(
    "wrong", [{"by": "cursor"}, {"by": "link", "cursor": "a"}, {"by": "numbers"}, {"max_pages": 0}]
)
async def test_what_makes_no_sense_together_is_refused(pages, library, wrong) -> None:
    with pytest.raises(ParameterInvalid):
        await pages("/link", **wrong)
    assert library.asked == []


def test_a_path_leads_through_tables_and_lists() -> None:
    body = {"a": [{"b": 1}], "c": None}
    assert at_path(body, "a.0.b") == 1
    assert at_path(body, "") == body
    assert [at_path(body, path) for path in ("a.1.b", "a.b", "c.d", "x")] == [None] * 4
    assert items_in({"k": 1}, "") == [{"k": 1}]


@given(st.lists(st.lists(st.integers(), min_size=1), min_size=1, max_size=10))
def test_all_items_of_all_pages_are_there_in_order(lists) -> None:
    pages = Pages(Paging(by="page"), Place("http://x/", None))
    place = pages.start()
    numbers = []
    for each in [*lists, []]:
        numbers.append(place.params["page"])
        place = pages.take(each, "http://x/", {})
    assert place is None
    assert pages.items == [item for each in lists for item in each]
    assert numbers == list(range(1, len(lists) + 2))


async def test_where_the_next_page_is_keeps_parameters_that_are_lists(pages) -> None:
    tags = {"tag": ["a", "b"]}
    done = await pages("/page", by="page", first_page=0, items="results", params=tags, max_pages=1)
    assert "tag=a&tag=b" in done["next"]


def test_a_path_with_an_endless_number_leads_nowhere() -> None:
    assert at_path([1], "9" * 5000) is None
