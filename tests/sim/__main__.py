"""``./dev sim``: many seeds, with what came of them; the first that fails, with a transcript.

Exit status 1 if an invariant was broken; with ``--mutant``, if the planted bug was not found.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from functools import partial

from tests.sim.mutants import MUTANTS, planted
from tests.sim.profiles import PROFILES
from tests.sim.run import LAST, Result, run


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("./dev sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many (100)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first one (0)")
    parser.add_argument("--profile", choices=list(PROFILES), help="which faults; by default all profiles")
    parser.add_argument("--mutant", choices=[*MUTANTS, "all"], help="plant a bug, and see how long it lives")
    parser.add_argument("--trace", action="store_true", help="a transcript of --first, whatever comes of it")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--last", type=int, default=LAST, metavar="N", help=f"deliveries in it ({LAST})")
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first that fails")
    return parser.parse_args()


def one(pair: tuple[str, int], *, last: int, mutant: str | None = None) -> Result:
    profile, seed = pair
    with planted(mutant):
        return run(seed, profile, last=last)


def results(pairs: list[tuple[str, int]], jobs: int, last: int) -> Iterator[Result]:
    """In order."""
    if jobs <= 1:
        yield from map(partial(one, last=last), pairs)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(partial(one, last=last), pairs, chunksize=4)


def show(result: Result, mutant: str | None = None) -> None:
    print(f"--- seed {result.seed}, profile {result.profile}: {result.problem or 'all is well'}")
    print("faults:", *(result.told or ["none"]), sep="\n  ")
    print("deliveries:", *result.transcript, sep="\n  ")
    planted_bug = f" --mutant {mutant}" if mutant else ""
    print(f"again: ./dev sim --profile {result.profile} --first {result.seed} --seeds 1 --trace{planted_bug}")


def many(options: argparse.Namespace) -> bool:
    """Whether all went well."""
    failed: list[Result] = []
    for profile in [options.profile] if options.profile else list(PROFILES):
        began = time.monotonic()
        done: list[Result] = []
        seeds = range(options.first, options.first + options.seeds)
        for result in results([(profile, seed) for seed in seeds], options.jobs, options.last):
            done.append(result)
            if result.problem:
                failed.append(result)
                if not options.keep_going:
                    break
                print(f"seed {result.seed}, profile {profile}: {result.problem.splitlines()[0]}", flush=True)
        report(profile, done, time.monotonic() - began)
    if failed:
        show(failed[0])
    return not failed


def report(profile: str, done: list[Result], seconds: float) -> None:
    bad = sum(result.problem is not None for result in done)
    faults = sum(result.faults for result in done)
    again = sum(result.again for result in done)
    given_up = sum(result.given_up for result in done)
    print(
        f"{profile:>9}: {len(done)} seeds, {bad} with violations; {sum(r.tasks for r in done)} tasks, "
        f"{faults} faults, {again} executions again, asked-for retries included, {given_up} given up, "
        f"{sum(result.deleted for result in done)} workflows deleted; "
        f"ended {max((r.seconds for r in done), default=0):.0f} s after the last fault at the latest; "
        f"{len(done) / seconds:.1f} seeds/s",
        flush=True,
    )


def hunt(name: str, first: int, last: int) -> Result | None:
    """The first seed that shows a planted bug; None if none does within the bug's budget.

    It does not count where the seed fails without the bug, too, or where the bug itself raises.
    """
    mutant = MUTANTS[name]
    for seed in range(first, first + mutant.budget):
        result = one((mutant.profile, seed), last=last, mutant=name)
        if result.crashed:
            raise SystemExit(f"{name} cannot be planted any more: {result.problem}")
        if result.problem and not run(seed, mutant.profile).problem:
            return result
    return None


def hunts(options: argparse.Namespace) -> bool:
    """Whether every planted bug was found."""
    names = list(MUTANTS) if options.mutant == "all" else [options.mutant]
    hunting = partial(hunt, first=options.first, last=options.last)
    with multiprocessing.get_context("fork").Pool(max(options.jobs, 1)) as pool:
        found = []
        for name, result in zip(names, pool.imap(hunting, names), strict=True):
            mutant = MUTANTS[name]
            found.append(result is not None)
            what = "NOT FOUND"
            if result is not None and result.problem:
                what = f"seed {result.seed - options.first + 1}: {result.problem.splitlines()[0][:120]}"
            print(f"{name:>22} ({mutant.profile}, {mutant.budget} seeds): {what}", flush=True)
            if options.trace and result is not None:
                show(result, name)
    return all(found)


def main() -> int:
    options = arguments()
    if options.mutant == "all" or (options.mutant and not options.trace):
        return not hunts(options)
    if options.trace:
        profile = options.profile or (MUTANTS[options.mutant].profile if options.mutant else "all")
        with planted(options.mutant):
            result = run(options.first, profile, keep=True, last=options.last)
        show(result, options.mutant)
        return result.problem is not None
    return not many(options)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of texts have an order of their own in each process
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.sim", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
