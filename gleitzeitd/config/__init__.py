"""TOML files and the environment to settings; settings to the TOML that is shipped.

A section is a frozen dataclass beside the code it configures. Its fields are the keys, its defaults
the defaults, and the string under each field the comment in the shipped file. A class may check what
concerns several keys in ``__post_init__``, and raises ``MalformedData(key, problem)``.
"""

from gleitzeitd.config.environment import variable_name
from gleitzeitd.config.files import DIRECTORY, config_files, instance_file
from gleitzeitd.config.loading import Loaded, load, value_in
from gleitzeitd.config.reference import effective, redacted, reference

__all__ = [
    "DIRECTORY",
    "Loaded",
    "config_files",
    "effective",
    "instance_file",
    "load",
    "redacted",
    "reference",
    "value_in",
    "variable_name",
]
