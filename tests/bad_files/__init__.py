"""A corpus of files that are no workflows, each with what is said about it.

``files/`` holds the small ones; ``recipes.py`` makes the large ones and those that are no plain files when
they are needed. ``manifest.toml`` names for each all lines that ``gleitzeit validate`` writes; ``{file}`` is its
path, ``{folder}`` the folder that it is in. ``python -m tests.bad_files`` writes the manifest again, to be
read before it is committed.
"""
