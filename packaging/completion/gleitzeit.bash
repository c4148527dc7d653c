# Completion of gleitzeit for bash.
# Made by ./dev reference from the commands themselves.

_gleitzeit_known() {
    commands='' options='' arguments=() valued=()
    case $1 in
        gleitzeit)
            commands='run call submit watch status list result logs why cancel delete resolve priority validate schema components providers protocols queues trace audit drain doctor mcp cert join backup restore token config provider import conform explain version'
            options='--version --debug --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit run')
            options='-i --input --id --timeout --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(-i:text: --input:text: --id:text: --timeout:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow-file:)
            ;;
        'gleitzeit call')
            options='-p --param --params --protocol --timeout --id --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(-p:text: --param:text: --params:file: --protocol:protocol: --timeout:text: --id:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(method:)
            ;;
        'gleitzeit submit')
            options='-i --input --id --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(-i:text: --input:text: --id:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow-file:)
            ;;
        'gleitzeit watch')
            options='--all --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow:)
            ;;
        'gleitzeit status')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow:)
            ;;
        'gleitzeit list')
            options='--status --name -n --limit --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=('--status:choice:running cancelling completed failed cancelled' --name:text: -n:text: --limit:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit result')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow: text:)
            ;;
        'gleitzeit logs')
            options='-f --follow --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow: text:)
            ;;
        'gleitzeit why')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow: text:)
            ;;
        'gleitzeit cancel')
            options='--reason --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--reason:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow:)
            ;;
        'gleitzeit delete')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow:)
            ;;
        'gleitzeit resolve')
            options='--result --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--result:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow: text: 'choice:rerun fail done')
            ;;
        'gleitzeit priority')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow: 'choice:low normal high urgent' text:)
            ;;
        'gleitzeit validate')
            options='-j --json --help'
            arguments=(workflow-file:)
            ;;
        'gleitzeit schema')
            options='-j --json --help'
            ;;
        'gleitzeit components')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit providers')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit protocols')
            commands='check show'
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit protocols check')
            options='-j --json --help'
            arguments=(file:)
            ;;
        'gleitzeit protocols show')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(protocol:)
            ;;
        'gleitzeit queues')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit trace')
            options='--event -n --limit --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--event:text: -n:text: --limit:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(workflow:)
            ;;
        'gleitzeit audit')
            options='--since --subject --action --workflow --outcome -n --limit -f --follow --verify --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--since:text: --subject:text: '--action:choice:submit cancel priority resolve delete drain undrain register_protocol refuse token_create token_revoke token_rotate config_reload config_import backup restore' --workflow:text: '--outcome:choice:accepted refused' -n:text: --limit:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit drain')
            options='--wait --timeout --undo --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--timeout:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(component:)
            ;;
        'gleitzeit doctor')
            options='--hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            ;;
        'gleitzeit mcp')
            options='-w --workflows -a --allow --patience --http --http-token-file --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(-w:file: --workflows:file: -a:text: --allow:text: --patience:text: --http:text: --http-token-file:file: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(choice:serve)
            ;;
        'gleitzeit cert')
            commands='ca issue renew show'
            options='--directory -j --json --help'
            valued=(--directory:directory:)
            ;;
        'gleitzeit cert ca')
            options='--name --days --directory --force -j --json --help'
            valued=(--name:text: --days:text: --directory:directory:)
            ;;
        'gleitzeit cert issue')
            options='--dns --ip --component --hub --days --directory --force -j --json --help'
            valued=(--dns:text: --ip:text: --component:text: --days:text: --directory:directory:)
            arguments=(text:)
            ;;
        'gleitzeit cert renew')
            options='--all --days --new-key --directory -j --json --help'
            valued=(--days:text: --directory:directory:)
            arguments=(text:)
            ;;
        'gleitzeit cert show')
            options='--directory -j --json --help'
            valued=(--directory:directory:)
            arguments=(file:)
            ;;
        'gleitzeit join')
            options='--certificate --key --no-restart --dry-run -j --json --help'
            valued=(--certificate:file: --key:file:)
            arguments=(text: text:)
            ;;
        'gleitzeit backup')
            options='--database --force --hub --hub-url --token --token-file --ca-file -j --json --help'
            valued=(--database:text: --hub:text: --hub-url:text: --token:text: --token-file:file: --ca-file:file:)
            arguments=(file:)
            ;;
        'gleitzeit restore')
            options='--database --check -j --json --help'
            valued=(--database:text:)
            arguments=(file:)
            ;;
        'gleitzeit token')
            commands='create list revoke rotate'
            options='-j --json --help'
            ;;
        'gleitzeit token create')
            options='--subject --role --host --names --namespace --expires --ca --keys -j --json --help'
            valued=(--subject:text: '--role:choice:dependency_resolver queue_manager execution_engine protocol_registry persistence provider viewer submitter operator admin' --host:text: --names:text: --namespace:text: --expires:text: --ca:file: --keys:file:)
            ;;
        'gleitzeit token list')
            options='--all --keys -j --json --help'
            valued=(--keys:file:)
            ;;
        'gleitzeit token revoke')
            options='--keys -j --json --help'
            valued=(--keys:file:)
            arguments=(text:)
            ;;
        'gleitzeit token rotate')
            options='--overlap --algorithm --keys -j --json --help'
            valued=(--overlap:text: '--algorithm:choice:HS256 EdDSA' --keys:file:)
            ;;
        'gleitzeit config')
            options='--origin --here -j --json --help'
            arguments=(choice:show role: text:)
            ;;
        'gleitzeit provider')
            options='--module --check -j --json --help'
            valued=(--module:text:)
            arguments=(text:)
            ;;
        'gleitzeit import')
            commands='config protocol provider'
            options='-j --json --help'
            ;;
        'gleitzeit import config')
            options='-o --output --force -j --json --help'
            valued=(-o:directory: --output:directory:)
            arguments=(file:)
            ;;
        'gleitzeit import protocol')
            options='-o --output --force -j --json --help'
            valued=(-o:file: --output:file:)
            arguments=(file:)
            ;;
        'gleitzeit import provider')
            options='-o --output --force -j --json --help'
            valued=(-o:file: --output:file:)
            arguments=(file:)
            ;;
        'gleitzeit conform')
            options='--port --timeout --start --call --slow --only --origin -j --json --help'
            valued=(--port:text: --timeout:text: --start:text: --call:text: --slow:text: --only:text: --origin:text:)
            arguments=(text:)
            ;;
        'gleitzeit explain')
            options='-j --json --help'
            arguments=(error:)
            ;;
        'gleitzeit version')
            options='-j --json --help'
            ;;
    esac
}

_gleitzeit_values() {
    case $1 in
        choice) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$cur") ;;
        file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
        workflow-file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -f -- "$cur" | grep -E '\.(ya?ml|json)$')
            ;;
        workflow) mapfile -t COMPREPLY < <(compgen -W "$(timeout 2 gleitzeit list --limit 50 --json 2>/dev/null | sed -n 's/^ *"workflow_id": "\(.*\)",*$/\1/p'; echo last)" -- "$cur") ;;
        component) mapfile -t COMPREPLY < <(compgen -W "$(timeout 2 gleitzeit components --json 2>/dev/null | sed -n 's/^ *"component_id": "\(.*\)",*$/\1/p')" -- "$cur") ;;
        method) mapfile -t COMPREPLY < <(compgen -W "$(timeout 2 gleitzeit protocols --json 2>/dev/null | sed -n 's/^ *"\([^" ]*\/[^" ]*\)": {$/\1/p')" -- "$cur") ;;
        protocol) mapfile -t COMPREPLY < <(compgen -W "$(timeout 2 gleitzeit protocols --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",*$/\1/p')" -- "$cur") ;;
        error) mapfile -t COMPREPLY < <(compgen -W "$(printf '%s\n' AUTHENTICATION_FAILED AUTHORIZATION_FAILED CONFIGURATION_ERROR CONNECTION_FAILED CONNECTION_TIMEOUT INVALID_PARAMS INVALID_REQUEST METHOD_NOT_FOUND METHOD_NOT_SUPPORTED PERSISTENCE_CONNECTION_FAILED PERSISTENCE_DATA_CORRUPT PERSISTENCE_LOCKED PROTOCOL_NOT_FOUND PROVIDER_NOT_AVAILABLE PROVIDER_OVERLOADED PROVIDER_TIMEOUT RATE_LIMIT_EXCEEDED RESOURCE_LIMIT_EXCEEDED SECRET_NOT_AVAILABLE SYSTEM_ERROR TASK_CANCELLED TASK_DEPENDENCY_FAILED TASK_EXECUTION_FAILED TASK_NOT_FOUND TASK_PARAMETER_INVALID TASK_RESOURCES_EXCEEDED TASK_RESULT_INVALID TASK_TIMEOUT TLS_FAILED TOKEN_EXPIRED TOKEN_REVOKED WIRE_VERSION_UNSUPPORTED WORKFLOW_EXECUTION_FAILED WORKFLOW_INVALID_STATE WORKFLOW_NOT_FOUND WORKFLOW_TIMEOUT WORKFLOW_VALIDATION_FAILED)" -- "$cur") ;;
        role) mapfile -t COMPREPLY < <(compgen -W "$(printf '%s\n' hub persistence protocol-registry dependency-resolver queue-manager execution-engine provider)" -- "$cur") ;;
    esac
}

_gleitzeit() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local path=gleitzeit commands options arguments valued word entry number=0 position=0
    if [[ $cur == "=" ]]; then
        cur=
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    _gleitzeit_known "$path"
    for ((number = 1; number < COMP_CWORD; number++)); do
        word=${COMP_WORDS[number]}
        if [[ $word == -* ]]; then
            if [[ " ${valued[*]%%:*} " == *" $word "* ]]; then
                number=$((number + 1)) # its value
                [[ ${COMP_WORDS[number]} != "=" ]] || number=$((number + 1))
            fi
        elif [[ " $commands " == *" $word "* ]]; then
            path+=" $word"
            _gleitzeit_known "$path"
        else
            position=$((position + 1))
        fi
    done
    for entry in "${valued[@]}"; do
        if [[ ${entry%%:*} == "$prev" ]]; then
            entry=${entry#*:}
            _gleitzeit_values "${entry%%:*}" "${entry#*:}"
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
        _gleitzeit_values "${entry%%:*}" "${entry#*:}"
    fi
}

complete -F _gleitzeit gleitzeit gz
