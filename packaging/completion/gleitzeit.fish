# Completion for fish: the command itself knows its options.
_GLEITZEIT_COMPLETE=fish_source gleitzeit | source
