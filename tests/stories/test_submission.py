"""A workflow is submitted: checked, durable, accepted, and its first tasks wait in a queue."""

from __future__ import annotations

from tests.stories.story import Story, task, workflow


def test_a_workflow_is_accepted_when_it_is_durable_and_then_its_first_tasks_are_ready():
    story = Story()
    story.submit("w", workflow(task("a"), task("b", "a")))
    story.until(lambda: story.cluster.accepted("w"))
    story.tells("""
        client      -> resolver-1   analyze_workflow (submit_workflow)
        resolver-1  -> persistence  save_workflow
        persistence -> resolver-1   data_saved
        resolver-1  -> client       workflow_submitted
    """)
    story.until(lambda: story.cluster.delivered["execute_task"] > 0)
    story.tells("""
        resolver-1  -> persistence  save_task (workflow_analyzed)
        persistence -> resolver-1   data_saved
        persistence -> queue-1      enqueue_task (workflow_analyzed)
        persistence -> client       workflow_analyzed
        queue-1     -> client       task_enqueued
        queue-1     -> persistence  save_task (task_available)
        persistence -> queue-1      data_saved
        queue-1     -> engine-1     execute_task
    """)


def test_a_workflow_with_problems_is_refused_and_only_the_audit_hears_of_it():
    story = Story()
    story.submit("w", workflow(task("a", "nobody"))).rests()
    story.tells("""
        client      -> resolver-1   analyze_workflow (submit_workflow)
        resolver-1  -> client       workflow_refused
        resolver-1  -> persistence  audit_noted
    """)


def test_a_workflow_that_was_submitted_before_is_accepted_once_more_and_not_run_again():
    story = Story()
    story.submit("w", workflow(task("a"))).ends()
    story.tells(EVERYTHING)
    story.submit("w", workflow(task("a"))).rests()
    story.tells("""
        client      -> resolver-1   analyze_workflow (submit_workflow)
        resolver-1  -> persistence  save_workflow
        persistence -> resolver-1   data_saved
        resolver-1  -> client       workflow_submitted
    """)
    assert story.cluster.executions["w", "a"] == 1


EVERYTHING = """
        client      -> resolver-1   analyze_workflow (submit_workflow)
        resolver-1  -> persistence  save_workflow
        persistence -> resolver-1   data_saved
        resolver-1  -> client       workflow_submitted
        resolver-1  -> persistence  save_task (workflow_analyzed)
        persistence -> resolver-1   data_saved
        persistence -> queue-1      enqueue_task (workflow_analyzed)
        persistence -> client       workflow_analyzed
        queue-1     -> client       task_enqueued
        queue-1     -> persistence  save_task (task_available)
        persistence -> queue-1      data_saved
        queue-1     -> engine-1     execute_task
        engine-1    -> persistence  query_owners
        persistence -> engine-1     shard_owners
        engine-1    -> provider-1   execute_method
        engine-1    -> persistence  save_task (task_started)
        persistence -> engine-1     data_saved
        persistence -> client       task_started
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


def test_a_workflow_of_one_task_from_its_submission_to_its_end():
    Story().submit("w", workflow(task("a"))).ends().tells(EVERYTHING)


def test_an_unanswered_submission_is_repeated_until_a_ledger_is_there():
    story = Story()
    story.cluster.kill("persistence")
    story.submit("w", workflow(task("a"))).rests()
    story.tells("client -> resolver-1 analyze_workflow (submit_workflow)")
    story.cluster.restart("persistence")
    story.until(lambda: story.cluster.accepted("w"))
    story.ends()
    assert story.cluster.executions["w", "a"] == 1
