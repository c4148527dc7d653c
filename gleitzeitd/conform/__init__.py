"""Whether a provider in any language keeps to the protocol: a hub of its own, and checks one by one.

``arena`` is the hub with somebody to ask, ``driver`` what can be asked of a provider, ``samples`` makes
parameters from a schema, ``checks`` holds what is expected, and ``trial`` goes through it.
"""

from gleitzeitd.conform.checks import CHECKS
from gleitzeitd.conform.trial import Outcome, Settings, Trial

__all__ = ["CHECKS", "Outcome", "Settings", "Trial"]
