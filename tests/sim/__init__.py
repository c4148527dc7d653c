"""Deterministic simulation: profiles of faults, an oracle that watches every step, and planted bugs.

    ./dev sim --profile storm --seeds 300
    ./dev sim --profile storm --first 4711 --trace
    ./dev sim --mutant no-fence

One seed is one run of a whole cluster of production classes: the same seed, the same run.
"""
