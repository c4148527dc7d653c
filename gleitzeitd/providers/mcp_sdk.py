"""Where the Python SDK of the Model Context Protocol is.

It is needed by who speaks with servers or hosts of MCP, and by nobody else. Debian 13 has no package of it,
so the package gleitzeit-provider-mcp brings it in a folder of its own, once for each release of Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from gleitzeitd.errors import ConfigError

SDK_DIRECTORY = "/usr/lib/gleitzeit/provider-mcp"
"""Below it: ``python3.13/mcp``, with everything that it needs."""
WHAT_TO_INSTALL = "install the package gleitzeit-provider-mcp, or, beside gleitzeitd: pip install 'mcp>=2.0'"


def find_sdk(directory: str = SDK_DIRECTORY) -> bool:
    """Whether the SDK can be imported; the folder below ``directory`` is put in front if that helps."""
    if _is_there():
        return True
    own = Path(directory) / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not (own / "mcp" / "__init__.py").is_file():
        return False
    if str(own) not in sys.path:
        # In front: what Debian itself has of the libraries below the SDK may be too old for it.
        sys.path.insert(0, str(own))
        importlib.invalidate_caches()
    return _is_there()


def require_sdk(who: str, directory: str = SDK_DIRECTORY) -> None:
    """Make the SDK importable.

    Raises:
        ConfigError: there is none for this Python; with what to install.
    """
    if not find_sdk(directory):
        release = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        raise ConfigError(
            f"{who} needs the Python SDK of the Model Context Protocol, which this {release} does not have: "
            + WHAT_TO_INSTALL
        )


def _is_there() -> bool:
    # The second one came with release 2; asking for the release itself takes long.
    return all(importlib.util.find_spec(name) is not None for name in ("mcp", "mcp_types"))
