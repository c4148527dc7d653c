"""Who does the work: one contract (``base.py``), one file per protocol."""
