"""What the ledger's performer reads, whatever it is asked."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gleitzeitd.errors import GleitzeitError, MalformedData, StoreError
from gleitzeitd.events.persistence import DataRetrieved, QueryData
from gleitzeitd.machines.persistence import Persistence, Requests
from gleitzeitd.machines.retention import Find, Sweep
from gleitzeitd.model.change import DeleteWorkflow
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId, shard_of
from gleitzeitd.runtime.ledger import PAGE_BYTES, LedgerPerformer
from gleitzeitd.stores.memory import MemoryStore
from gleitzeitd.stores.sqlite import SqliteStore
from tests.stores.ledger import OWNED, W, accept, complete, done, end, grant, ready

KINDS = ["workflow", "workflows", "tasks", "results", "output", "history", "feed", "snapshot", "nothing"]
ODD = [None, -1, 0, 2**70, -(2**70), "x", "x/y", [], ["a"], ["a", "b"], [1, 2], {"a": 1}, True, 1.5]
QUERIES = st.builds(
    QueryData,
    kind_of_data=st.sampled_from(KINDS),
    workflow_id=st.sampled_from([None, "", "w", "no id", "w" * 300]),
    task_ids=st.lists(st.sampled_from(["a", "", "z"]), max_size=3),
    shard_number=st.sampled_from([None, 3, -1, 16, 2**70]),
    audience=st.sampled_from([None, *Role]),
    after=st.sampled_from(ODD),
    limit=st.sampled_from([1, 500, 0, -1, 2**70]),
    status=st.sampled_from([None, "running", "x"]),
)


async def test_ages_are_reckoned_by_the_clock_that_has_stamped_the_endings():
    store = MemoryStore()
    clock = iter(["2026-03-01T00:00:00.000Z"] * 2 + ["2026-03-08T00:00:00.000Z"] * 9).__next__
    performer = LedgerPerformer(store, clock)
    ended = [accept(graph={"a": []}), *done("a"), end()]
    await performer.answer(Requests.Commit([*OWNED, *ended]))
    other = WorkflowId("other")
    week = 7 * 86_400.0
    assert await performer.answer(Find(keep_seconds=week, keep=None, spare_seconds=1.0)) == []
    assert await performer.answer(Find(keep_seconds=week, keep=None, spare_seconds=1.0)) == []
    assert await performer.answer(Find(keep_seconds=week - 1, keep=None, spare_seconds=1.0)) == [W]
    assert await performer.answer(Find(keep_seconds=week - 1, keep=None, spare_seconds=week)) == []
    assert await performer.answer(Find(keep_seconds=None, keep=0, spare_seconds=1.0)) == [W]
    assert await performer.answer(Find(keep_seconds=None, keep=1, spare_seconds=1.0)) == []
    assert await performer.answer(Find(keep_seconds=9e10, keep=None, spare_seconds=1.0)) == []
    await performer.answer(Requests.Commit([DeleteWorkflow(workflow_id=W), accept(other)]))
    assert await performer.answer(Sweep(forget_seconds=1.0)) == 0
    history = await read(store, QueryData(kind_of_data="history", workflow_id=W))
    assert (history.items, history.known) == ([], False)
    assert (await read(store, QueryData(kind_of_data="history", workflow_id=other))).known
    role = Role.DEPENDENCY_RESOLVER
    feed = await read(store, QueryData(kind_of_data="feed", shard_number=shard_of(W), audience=role))
    assert feed.horizon == 3


async def read(store, query):
    return await LedgerPerformer(store).answer(Requests.Read(query, []))


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def make_store(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("ledger") / "gleitzeit.db"
    return MemoryStore if request.param == "memory" else lambda: SqliteStore(path)


@given(query=QUERIES)
@settings(max_examples=150)
def test_every_query_is_answered_or_refused(make_store, query):
    async def ask():
        store = make_store()
        await store.open()
        try:
            return await read(store, query)
        except GleitzeitError as problem:
            return problem
        finally:
            await store.close()

    assert isinstance(asyncio.run(ask()), (DataRetrieved, GleitzeitError))


async def test_named_results_stop_where_a_page_is_full():
    store = MemoryStore()
    await store.open()
    names = ["a", "b", "c"]
    large = "x" * (PAGE_BYTES // 2 + 1)
    changes = [accept(graph={name: [] for name in names}), ready(*names), grant(*names)]
    await store.commit([*OWNED, *changes, *(complete(name, result=large) for name in names)], "")
    query = QueryData(kind_of_data="results", workflow_id=W, task_ids=[*map(TaskId, names)])
    page = await read(store, query)
    assert [task_id for task_id, _ in page.items] == ["a", "b"]


async def test_the_message_says_what_was_expected():
    with pytest.raises(MalformedData, match=r"query_data.workflow_id: expected the id of a workflow"):
        await read(MemoryStore(), QueryData(kind_of_data="workflow", workflow_id="no id"))


class Broken(MemoryStore):
    """Has bugs."""

    async def commit(self, changes, at):
        await super().commit(changes, at)
        raise ZeroDivisionError

    async def workflow(self, workflow_id):
        raise ZeroDivisionError


async def answer_of(request):
    answered = asyncio.get_running_loop().create_future()
    performer = LedgerPerformer(Broken())
    await performer.start(lambda _, answer: answered.set_result(answer))
    performer.perform("commit", request)
    answer = await asyncio.wait_for(answered, 5)
    await performer.stop()
    return answer


async def test_a_bug_in_a_commit_ends_the_ledger_instead_of_leaving_it_to_wait():
    answer = await answer_of(Requests.Commit([accept()]))
    with pytest.raises(ZeroDivisionError):
        Persistence(component_id=ComponentId("ledger")).call_finished("commit", answer, 0.0, "")


async def test_a_bug_in_a_query_is_told_to_the_one_who_asked():
    answer = await answer_of(Requests.Read(QueryData(kind_of_data="workflow", workflow_id=W), []))
    assert isinstance(answer, StoreError)
