"""``python -m tests.bad_files``: write the manifest again, to be read before it is committed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tomli_w

from tests.bad_files.corpus import MANIFEST, files, looked_at

with tempfile.TemporaryDirectory() as made:
    looks = looked_at(files(Path(made)))
MANIFEST.write_text(
    "# What gleitzeit validate says of each file: see __init__.py.\n\n"
    + tomli_w.dumps({name: looks[name].entry() for name in sorted(looks)}),
    encoding="utf-8",
)
