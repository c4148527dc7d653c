"""What earlier versions have left on disk, made into files of this one; for ``gleitzeit import``."""

from gleitzeitd.earlier.config import from_config
from gleitzeitd.earlier.conversion import Converted, LeftOut
from gleitzeitd.earlier.provider import from_provider

__all__ = ["Converted", "LeftOut", "from_config", "from_provider"]
