"""A workflow file, YAML or JSON, as a document for the model; for the command line and the Python client."""

from gleitzeitd.workflow_file.loading import WorkflowFile, load, parse, render

__all__ = ["WorkflowFile", "load", "parse", "render"]
