# Completion of gleitzeitd for bash.
# Made by ./dev reference from the commands themselves.

_gleitzeitd_known() {
    commands='' options='' arguments=() valued=()
    case $1 in
        gleitzeitd)
            options='-h --help --module --config --hub --insecure --log-level --check-config --print-config --effective --version'
            valued=(--module:text: --config:file: --hub:text: '--log-level:choice:debug info warning error')
            arguments=('choice:hub persistence protocol-registry dependency-resolver queue-manager execution-engine provider all' 'choice:echo python shell http llm mcp grpc')
            ;;
    esac
}

_gleitzeitd_values() {
    case $1 in
        choice) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$cur") ;;
        file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
        workflow-file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -f -- "$cur" | grep -E '\.(ya?ml|json)$')
            ;;

    esac
}

_gleitzeitd() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local path=gleitzeitd commands options arguments valued word entry number=0 position=0
    if [[ $cur == "=" ]]; then
        cur=
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    _gleitzeitd_known "$path"
    for ((number = 1; number < COMP_CWORD; number++)); do
        word=${COMP_WORDS[number]}
        if [[ $word == -* ]]; then
            if [[ " ${valued[*]%%:*} " == *" $word "* ]]; then
                number=$((number + 1)) # its value
                [[ ${COMP_WORDS[number]} != "=" ]] || number=$((number + 1))
            fi
        elif [[ " $commands " == *" $word "* ]]; then
            path+=" $word"
            _gleitzeitd_known "$path"
        else
            position=$((position + 1))
        fi
    done
    for entry in "${valued[@]}"; do
        if [[ ${entry%%:*} == "$prev" ]]; then
            entry=${entry#*:}
            _gleitzeitd_values "${entry%%:*}" "${entry#*:}"
            return
        fi
    done
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    elif [[ -n $commands ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
    elif ((${#arguments[@]})); then
        # The last one can be there several times.
        ((position < ${#arguments[@]})) || position=$((${#arguments[@]} - 1))
        entry=${arguments[position]}
        _gleitzeitd_values "${entry%%:*}" "${entry#*:}"
    fi
}

complete -F _gleitzeitd gleitzeitd
