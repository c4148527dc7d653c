"""``python -m tests.failpoints ROLE ...``: ``gleitzeitd ROLE ...``, struck where GLEITZEIT_FAILPOINTS says."""

from __future__ import annotations

import os
import sys

from gleitzeitd.__main__ import USAGE, main
from tests.failpoints.places import place
from tests.failpoints.points import VARIABLE, BadFailpoint, Failpoints

try:
    points = Failpoints(os.environ.get(VARIABLE, ""))
except BadFailpoint as problem:
    sys.stderr.write(f"{VARIABLE}: {problem}\n")
    sys.exit(USAGE)
place(points)
main()
