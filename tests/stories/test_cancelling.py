"""A workflow is cancelled: durable first, then the engine, the provider, and the end."""

from __future__ import annotations

from gleitzeitd.events.dependency_resolver import CancelWorkflow
from gleitzeitd.model.names import WorkflowId
from tests.stories.story import Story, task, workflow


def running():
    """``a`` runs for long, ``b`` waits for it."""
    story = Story()
    story.cluster.work = lambda work: (60.0, {"result": None})
    story.submit("w", workflow(task("a"), task("b", "a")))
    story.until(lambda: story.cluster.executions["w", "a"] == 1)
    story.rests().skip()
    return story


def cancel(story):
    story.cluster.ask("cancel", CancelWorkflow(workflow_id=WorkflowId("w"), reason="enough"))
    return story


def test_what_waits_is_cancelled_at_once_and_what_runs_is_ended():
    story = cancel(running())
    story.until(lambda: story.cluster.states("w")["a"] == "cancelled")
    story.tells("""
        client      -> resolver-1   cancel_workflow
        resolver-1  -> persistence  save_workflow (cancel_workflow)
        persistence -> resolver-1   data_saved
        resolver-1  -> client       data_saved
        persistence -> engine-1     cancel_task
        engine-1    -> provider-1   cancel_method
        persistence -> resolver-1   workflow_cancelling
        persistence -> queue-1      workflow_cancelling
        persistence -> client       workflow_cancelling
        persistence -> resolver-1   task_cancelled
        persistence -> queue-1      task_cancelled
        persistence -> client       task_cancelled
        provider-1  -> engine-1     provider_error
        engine-1    -> persistence  save_result (task_failed)
        provider-1  -> engine-1     provider_error
    """)
    story.ends().tells("""
        persistence -> engine-1     data_saved
        persistence -> resolver-1   task_cancelled
        persistence -> queue-1      task_cancelled
        persistence -> client       task_cancelled
        resolver-1  -> persistence  save_workflow (workflow_cancelled)
        persistence -> resolver-1   data_saved
        persistence -> resolver-1   workflow_cancelled
        persistence -> client       workflow_cancelled
    """)
    assert story.cluster.states("w") == {"a": "cancelled", "b": "cancelled"}
    assert story.cluster.executions["w", "b"] == 0


def test_a_workflow_is_cancelled_once_and_the_second_time_is_a_repeat():
    story = cancel(running()).ends()
    assert story.cluster.answers["cancel"].status == "ok"
    story.skip()
    cancel(story).rests().tells("""
        client      -> resolver-1   cancel_workflow
        resolver-1  -> persistence  save_workflow (cancel_workflow)
        persistence -> resolver-1   data_saved
        resolver-1  -> client       data_saved
    """)
    assert story.cluster.answers["cancel"].status == "duplicate"


def test_what_has_ended_cannot_be_cancelled():
    story = Story()
    story.submit("w", workflow(task("a"))).ends()
    cancel(story).rests()
    assert story.cluster.answers["cancel"].status == "stale"
    assert story.cluster.status("w") == "completed"


def test_an_engine_that_is_started_again_ends_what_it_held():
    story = running()
    story.cluster.kill("engine-1")
    cancel(story).rests()
    assert story.cluster.status("w") == "cancelling"
    story.cluster.restart("engine-1")
    story.ends()
    assert story.cluster.status("w") == "cancelled"
