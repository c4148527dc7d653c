"""Roles, identifiers, shards, and the bounds that names have to keep."""

from __future__ import annotations

import re
import zlib
from enum import StrEnum
from typing import NewType

TaskId = NewType("TaskId", str)
"""Unique within its workflow."""
WorkflowId = NewType("WorkflowId", str)
"""Made by whoever submits; unique everywhere."""
ComponentId = NewType("ComponentId", str)
Shard = NewType("Shard", int)

SHARDS = 16
"""Virtual shards. A constant of the wire: every component computes the same one."""

NAME_LIMIT = 200
"""Characters that an identifier or a name may have."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]*")


class Role(StrEnum):
    """What a process can be. The value is ``component_type`` on the wire."""

    HUB = "hub"
    DEPENDENCY_RESOLVER = "dependency_resolver"
    QUEUE_MANAGER = "queue_manager"
    EXECUTION_ENGINE = "execution_engine"
    PROTOCOL_REGISTRY = "protocol_registry"
    PERSISTENCE = "persistence"
    PROVIDER = "provider"
    CLIENT = "client"

    @property
    def file_name(self) -> str:
        """The role's name in files, units and packages: ``queue-manager``."""
        return self.value.replace("_", "-")


def shard_of(workflow_id: str) -> Shard:
    """The shard that a workflow belongs to: CRC-32 (IEEE 802.3) of its UTF-8 form, modulo SHARDS."""
    return Shard(zlib.crc32(workflow_id.encode()) % SHARDS)


def is_identifier(text: str) -> bool:
    """Whether ``text`` can be a workflow id, a task id or a component id."""
    return len(text) <= NAME_LIMIT and _IDENTIFIER.fullmatch(text) is not None
