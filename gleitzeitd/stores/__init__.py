"""Where rows are kept: one file per backend, one contract for all (``stores.base``)."""
