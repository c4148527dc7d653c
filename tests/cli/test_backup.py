"""gleitzeit backup and restore."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from gleitzeitd.events.hub import ComponentInfo
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.stores.sqlite import SqliteStore
from tests.cli.fake_client import FakeClient, call
from tests.stores.ledger import AT, OWNED, accept


async def filled(database: Path) -> None:
    store = SqliteStore(database)
    await store.open()
    await store.commit([*OWNED, accept()], AT)
    await store.close()


def test_a_backup_says_what_is_in_it_and_can_be_restored(tmp_path: Path) -> None:
    database, copy = tmp_path / "gleitzeit.db", tmp_path / "copy.db"
    asyncio.run(filled(database))
    result = call(FakeClient(), "backup", str(copy), "--database", str(database))
    assert result.exit_code == 0, result.output
    assert f"{copy}: 1 workflow (1 running), 3 tasks, " in result.stdout
    again = call(FakeClient(), "backup", str(copy), "--database", str(database))
    assert again.exit_code == 2
    assert "exists" in again.stderr
    looked = call(FakeClient(), "restore", "--check", str(copy), "--json")
    assert json.loads(looked.stdout)["unfinished"] == 1
    done = call(FakeClient(), "restore", str(copy), "--database", str(database))
    assert done.exit_code == 0
    assert "systemctl start gleitzeit-persistence" in done.stdout
    assert "before-restore" in done.stdout


def test_on_another_host_it_is_said_where_the_database_is(tmp_path: Path) -> None:
    client = FakeClient()
    client.component_list = [
        ComponentInfo(
            component_id=ComponentId("p"),
            component_type=Role.PERSISTENCE,
            status="healthy",
            hostname="host-a",
        )
    ]
    result = call(client, "backup", str(tmp_path / "copy"), "--database", str(tmp_path / "none.db"))
    assert result.exit_code == 2
    assert "as root, on the host of the persistence component, which is host-a" in result.stderr


def test_the_help_of_restore_is_the_whole_procedure() -> None:
    help_text = call(FakeClient(), "restore", "--help").output
    assert help_text.index("systemctl stop") < help_text.index("systemctl start gleitzeit-persistence")
