"""Measurements of the system as users run it: real daemons in processes of their own, a durable store.

Figures come from here and nowhere else. Machines are noisy: compare ratios of one run.
"""
