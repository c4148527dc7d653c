"""Every store fulfils the contract."""

from __future__ import annotations

import pytest

from gleitzeitd.stores.memory import MemoryStore
from gleitzeitd.stores.sqlite import SqliteStore
from tests.stores.contract import StoreContract

BACKENDS = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "ledger.db"),
}


@pytest.mark.parametrize("backend", BACKENDS)
class TestStores(StoreContract):
    @pytest.fixture
    async def store(self, backend, tmp_path):
        store = BACKENDS[backend](tmp_path)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def reopen(self, store):
        async def again():
            await store.close()
            return store, await store.open()

        return again
