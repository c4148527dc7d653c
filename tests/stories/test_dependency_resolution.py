"""What a task's end means for those that depend on it."""

from __future__ import annotations

from tests.stories.story import Story, task, workflow

DONE = """
        persistence -> resolver-1   task_completed
"""
FREED = """
        resolver-1  -> persistence  save_task (dependencies_satisfied)
        persistence -> queue-1      enqueue_task (dependencies_satisfied)
        queue-1     -> engine-1     execute_task
"""
FIRST = """
        resolver-1  -> persistence  save_task (workflow_analyzed)
        persistence -> queue-1      enqueue_task (workflow_analyzed)
        queue-1     -> engine-1     execute_task
"""
STEPS = ("save_task", "enqueue_task", "execute_task", "task_completed", "task_failed", "task_skipped")
END = ("save_workflow", "workflow_completed", "workflow_failed")


def told(story, expected):
    """Only what resolver, ledger, queue manager and engine say about what is ready, and what has ended."""
    pairs = [
        ("resolver-1", "persistence"),
        ("persistence", "resolver-1"),
        ("persistence", "queue-1"),
        ("queue-1", "engine-1"),
    ]
    wanted = {(*pair, name) for pair in pairs for name in STEPS + END}
    story.tells(expected, only=lambda source, target, name: (source, target, name) in wanted)


def accepted(*tasks, seconds=None):
    story = Story()
    if seconds is not None:
        story.cluster.work = lambda work: (seconds[work.task_id], {"result": {"n": work.task_id}})
    story.submit("w", workflow(*tasks))
    story.until(lambda: story.cluster.accepted("w"))
    story.skip()
    return story


def test_a_task_is_freed_by_its_dependency_and_gets_its_result():
    story = accepted(task("a", parameters={"n": 5}), task("b", "a", parameters={"from": "${a.n}"}))
    ending = """
        resolver-1  -> persistence  save_workflow (workflow_completed)
        persistence -> resolver-1   workflow_completed
    """
    told(story.ends(), FIRST + DONE + FREED + DONE + ending)
    assert story.cluster.result("w", "b") == {"from": 5}


def test_a_join_waits_for_the_last_of_its_dependencies():
    story = accepted(
        task("a"),
        task("b", "a"),
        task("c", "a"),
        task("d", "b", "c"),
        seconds={"a": 1, "b": 1, "c": 2, "d": 1},
    )
    both = """
        resolver-1  -> persistence  save_task (dependencies_satisfied)
        persistence -> queue-1      enqueue_task (dependencies_satisfied)
        queue-1     -> engine-1     execute_task
        queue-1     -> engine-1     execute_task
    """
    ending = """
        resolver-1  -> persistence  save_workflow (workflow_completed)
        persistence -> resolver-1   workflow_completed
    """
    told(story.ends(), FIRST + DONE + both + DONE + DONE + FREED + DONE + ending)


def test_what_depends_on_a_failed_task_is_skipped_to_the_last():
    story = accepted(task("a", method="echo/fail"), task("b", "a"), task("c", "b"))
    told(
        story.ends(),
        FIRST
        + """
        persistence -> resolver-1   task_failed
        resolver-1  -> persistence  save_task (task_skipped)
        persistence -> resolver-1   task_skipped
        resolver-1  -> persistence  save_workflow (workflow_failed)
        persistence -> resolver-1   workflow_failed
    """,
    )
    assert story.cluster.states("w") == {"a": "failed", "b": "skipped", "c": "skipped"}


def test_a_resolver_that_is_started_again_goes_on_where_the_ledger_is():
    story = accepted(task("a"), task("b", "a"), seconds={"a": 3.0, "b": 0.1})
    story.until(lambda: story.cluster.executions["w", "a"] == 1)
    story.cluster.kill("resolver-1")
    story.cluster.run(story.cluster.now + 4.0)
    told(story, FIRST)
    story.cluster.restart("resolver-1")
    story.ends()
    assert story.cluster.states("w") == {"a": "completed", "b": "completed"}
    assert set(story.cluster.executions.values()) == {1}
