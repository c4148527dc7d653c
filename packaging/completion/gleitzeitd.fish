# Completion of gleitzeitd for fish.
# Made by ./dev reference from the commands themselves.

# The commands typed so far, such as "config show".
function __gleitzeitd_path
    set -l known ''
    set -l path ''
    for word in (commandline -opc)[2..-1]
        set -l longer (string trim -- "$path $word")
        if contains -- $longer $known
            set path $longer
        end
    end
    echo $path
end

function __gleitzeitd_at
    test (__gleitzeitd_path) = "$argv[1]"
end

complete -c gleitzeitd -f
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -s h -l help -d 'Show this help message and exit.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l module -r -f -d 'A class, or module, of a provider of your own.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l config -r -F -d 'Read this file instead of those in /etc/gleitzeit; can be repeated.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l hub -r -f -d 'A hub; can be repeated.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l insecure -d 'Of a hub: ask for no token, and let in whoever is on this host.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l log-level -r -f -a 'debug info warning error' -d 'What is logged.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l check-config -d 'Say what is wrong with the configuration, and exit.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l print-config -d 'Print all settings as TOML, with their meanings.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l effective -d 'With --print-config: the values in force, and where each is from.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -l version -d 'Show program\'s version number and exit.'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -f -a 'hub persistence protocol-registry dependency-resolver queue-manager execution-engine provider all'
complete -c gleitzeitd -n '__gleitzeitd_at \'\'' -f -a 'echo python shell http llm mcp grpc'
