# Completion for bash: the command itself knows its options.
eval "$(_GLEITZEIT_COMPLETE=bash_source gleitzeit)"
