"""Who does the work: one contract (``base.py``), one file per protocol, a kit to write more (``kit.py``)."""

from gleitzeitd.providers.base import MethodCall, Provider
from gleitzeitd.providers.kit import (
    BUILTIN,
    MethodProvider,
    MethodProviderSettings,
    builtin,
    load,
    method,
    usable,
)

__all__ = [
    "BUILTIN",
    "MethodCall",
    "MethodProvider",
    "MethodProviderSettings",
    "Provider",
    "builtin",
    "load",
    "method",
    "usable",
]
