"""A task is executed: leased, called, reported; or tried again; or lost with whoever held it."""

from __future__ import annotations

from tests.stories.story import Story, task, workflow

RETRY = {"max_attempts": 2, "base_delay": 0.5, "jitter": False}
LEASE = """
        queue-1     -> persistence  save_task (task_available)
        persistence -> queue-1      data_saved
        queue-1     -> engine-1     execute_task
"""
ASKED_WHOSE = """
        engine-1    -> persistence  query_owners
        persistence -> engine-1     shard_owners
"""
CALL = """
        engine-1    -> provider-1   execute_method
        engine-1    -> persistence  save_task (task_started)
        persistence -> engine-1     data_saved
        persistence -> client       task_started
"""
FIRST_LEASED = LEASE + ASKED_WHOSE + CALL  # whose orders are to be followed, the engine asks once
LEASED = LEASE + CALL


def leasing(*tasks):
    """The story from where the first task is to be leased."""
    story = Story()
    story.submit("w", workflow(*tasks))
    story.until(lambda: story.cluster.delivered["task_enqueued"] > 0)
    story.skip()
    return story


def test_a_task_is_leased_called_and_reported():
    story = leasing(task("a"))
    story.ends().tells(
        FIRST_LEASED
        + """
        provider-1  -> engine-1     method_result
        engine-1    -> persistence  save_result (task_completed)
        persistence -> engine-1     data_saved
        persistence -> resolver-1   task_completed
        persistence -> client       task_completed
        resolver-1  -> persistence  save_workflow (workflow_completed)
        persistence -> resolver-1   data_saved
        persistence -> resolver-1   workflow_completed
        persistence -> client       workflow_completed
    """
    )


def test_a_task_that_fails_is_tried_again_and_ends_its_workflow():
    story = leasing(task("a", method="echo/fail", retry=RETRY))
    failed = """
        provider-1  -> engine-1     provider_error
        engine-1    -> persistence  save_result (task_failed)
        persistence -> engine-1     data_saved
        persistence -> resolver-1   task_failed
        persistence -> client       task_failed
    """
    again = """
        persistence -> queue-1      enqueue_task
        persistence -> client       enqueue_task
        queue-1     -> client       task_enqueued
    """
    ending = """
        resolver-1  -> persistence  save_workflow (workflow_failed)
        persistence -> resolver-1   data_saved
        persistence -> resolver-1   workflow_failed
        persistence -> client       workflow_failed
    """
    story.ends().tells(FIRST_LEASED + failed + again + LEASED + failed + ending)


def test_a_task_that_was_leased_to_an_engine_that_knows_nothing_of_it_is_run_once():
    story = Story()
    story.submit("w", workflow(task("a")))
    story.until(lambda: story.cluster.delivered["task_enqueued"] > 0)
    story.cluster.kill("engine-1")  # nothing of the lease has arrived
    story.cluster.restart("engine-1")
    story.ends()
    assert story.cluster.executions["w", "a"] == 1
    assert story.cluster.status("w") == "completed"


def test_a_task_that_was_lost_with_its_provider_runs_again():
    story = leasing(task("a"))
    story.cluster.work = lambda work: (2.0 if work.attempt == 1 else 0.1, {"result": work.attempt})
    story.until(lambda: story.cluster.executions["w", "a"] == 1)
    story.rests().tells(FIRST_LEASED)
    story.cluster.kill("provider-1")
    story.until(lambda: story.cluster.delivered["task_lost"] > 0)
    story.rests().tells("""
        engine-1    -> persistence  save_result (task_failed)
        persistence -> engine-1     data_saved
        persistence -> queue-1      enqueue_task (task_lost)
        persistence -> client       task_lost
        queue-1     -> client       task_enqueued
    """)
    story.cluster.restart("provider-1")
    story.ends()
    assert story.cluster.result("w", "a") == 2


def test_a_task_waits_in_the_queue_while_nobody_can_run_it():
    story = Story()
    story.cluster.kill("provider-1")
    story.rests().skip()
    story.submit("w", workflow(task("a"))).rests()
    story.tells("""
        client      -> resolver-1   analyze_workflow (submit_workflow)
        resolver-1  -> persistence  save_workflow
        persistence -> resolver-1   data_saved
        resolver-1  -> client       workflow_submitted
        resolver-1  -> persistence  save_task (workflow_analyzed)
        persistence -> resolver-1   data_saved
        persistence -> queue-1      enqueue_task (workflow_analyzed)
        persistence -> client       workflow_analyzed
        queue-1     -> client       task_enqueued
    """)
    story.cluster.restart("provider-1")
    story.ends()
    assert story.cluster.status("w") == "completed"
