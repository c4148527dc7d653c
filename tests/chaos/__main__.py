"""``python -m tests.chaos``: faults upon real processes, and whether anything came of them."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import as_json, as_table
from tests.chaos.run import Options, Run


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="chaos", description="Faults upon real processes on this machine.")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults go on (default 3)")
    parser.add_argument("--seed", type=int, help="of all chance; without it, one is drawn and printed")
    parser.add_argument("--per-minute", type=float, default=60.0, help="faults per minute (default 60)")
    parser.add_argument("--under-way", type=int, default=4, help="workflows at once, per client (default 4)")
    parser.add_argument("--keep", type=Path, help="a directory for logs and database; they are kept there")
    return parser.parse_args()


def main() -> int:
    """The exit code: 1 if anything is wrong."""
    given = arguments()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    print(f"seed {seed}", file=sys.stderr)
    directory = given.keep or Path(tempfile.mkdtemp(prefix="gleitzeit-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    options = Options(
        seconds=given.minutes * 60, seed=seed, per_minute=given.per_minute, under_way=given.under_way
    )
    account = asyncio.run(Run(directory, options).run())
    print(as_table(account))
    print(as_json(account))
    if account.all_violations:
        print(f"logs, database and record are in {directory}", file=sys.stderr)
        return 1
    if given.keep is None:
        shutil.rmtree(directory)
    return 0


sys.exit(main())
