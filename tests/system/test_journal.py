"""What an operator reads: one workflow's way through all daemons, and what an error means."""

from __future__ import annotations

import json

from tests.system.fleet import Fleet
from tests.system.host import EXAMPLES
from tests.system.workflows import new_id

TALKATIVE = {
    "name": "Talkative",
    "tasks": [
        {
            "id": "speak",
            "method": "shell/execute",
            "parameters": {"script": "echo a line of the task; echo a complaint of it >&2"},
        },
        {"id": "after", "method": "echo/echo", "parameters": {"message": "x"}, "dependencies": ["speak"]},
    ],
}


def test_a_workflow_can_be_followed_through_five_roles_with_the_output_of_its_tasks(fleet: Fleet) -> None:
    made = fleet.hub.submit(new_id("talkative"), json.dumps(TALKATIVE))
    fleet.hub.wait_completed(made)

    def records() -> list[dict[str, object]]:
        return [r for host in fleet.hosts.all for r in host.journal(f"GLEITZEIT_WORKFLOW={made}")]

    def roles() -> set[object]:
        return {record.get("GLEITZEIT_ROLE") for record in records()}

    fleet.hub.wait_until("records of five roles", lambda: len(roles()) >= 5, within=3)
    by_task = [record for record in records() if record.get("GLEITZEIT_TASK") == "speak"]
    said = {(record["MESSAGE"], record.get("GLEITZEIT_STREAM")) for record in by_task}
    assert ("[speak] a line of the task", "stdout") in said
    assert ("[speak] a complaint of it", "stderr") in said


def test_an_error_is_explained_where_it_is_read(fleet: Fleet) -> None:
    failing = fleet.hub.run("gleitzeit", "run", f"{EXAMPLES}/failure.yaml", "--json", check=False)
    assert failing.returncode == 1
    coded = [r for host in fleet.hosts.all for r in host.journal() if r.get("GLEITZEIT_ERROR")]
    assert coded, "no record has GLEITZEIT_ERROR"
    explained = [r for r in coded if r.get("MESSAGE_ID")]
    assert explained, coded[0]
    code = str(explained[0]["GLEITZEIT_ERROR"])
    told = fleet.hub.gleitzeit("explain", code)
    entry = fleet.hub.said("journalctl", "--dump-catalog", str(explained[0]["MESSAGE_ID"]))
    for host in fleet.hosts.all:
        shown = host.said("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={explained[0]['MESSAGE_ID']}")
        if "No entries" not in shown:
            break
    sentences = [line.strip() for line in told.splitlines() if len(line.split()) > 6]
    assert sentences
    for text in (entry, shown):
        squeezed = " ".join(text.replace("░", "").split())
        assert any(" ".join(sentence.split()) in squeezed for sentence in sentences), (told, text)
