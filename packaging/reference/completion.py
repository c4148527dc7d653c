"""Completion for bash, zsh and fish, from the commands' own tree: no Python runs to complete an option.

Only ids of workflows and components are asked for, of a hub that may not answer, for two seconds at most.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from gleitzeitd import errors
from gleitzeitd.roles import ROLES
from reference.commands import Command, Option, gleitzeit, gleitzeitd

ALSO = {"gleitzeit": ("gz",)}
"""Other names of a command."""

WORKFLOW_FILES = {"run", "submit", "validate"}
"""Commands whose FILE is a workflow's. That of others is any file."""

KINDS = {
    "FILE": "file",
    "DIRECTORY": "directory",
    "WORKFLOW": "workflow",
    "WORKFLOW|CORRELATION": "workflow",
    "COMPONENT": "component",
    "ENGINE|PROVIDER": "component",
    "CODE": "error",
    "ROLE": "role",
    "NAME": "instance",
    "METHOD": "method",
    "PROTOCOL": "protocol",
}
"""What stands for a value to how it is completed; whatever is not here is left to whoever types."""

ASK = {
    "workflow": "timeout 2 gleitzeit list --limit 50 --json 2>/dev/null |"
    """ sed -n 's/^ *"workflow_id": "\\(.*\\)",*$/\\1/p'; echo last""",
    "component": "timeout 2 gleitzeit components --json 2>/dev/null |"
    """ sed -n 's/^ *"component_id": "\\(.*\\)",*$/\\1/p'""",
    "method": "timeout 2 gleitzeit protocols --json 2>/dev/null |"
    """ sed -n 's/^ *"\\([^" ]*\\/[^" ]*\\)": {$/\\1/p'""",
    "protocol": "timeout 2 gleitzeit protocols --json 2>/dev/null |"
    """ sed -n 's/^ *"name": "\\(.*\\)",*$/\\1/p'""",
    "error": f"printf '%s\\n' {' '.join(sorted(errors.NAMES))}",
    "role": f"printf '%s\\n' {' '.join(role.file_name for role in ROLES)}",
    "instance": "find /etc/gleitzeit/providers /etc/gleitzeit/execution-engine -name '*.toml' 2>/dev/null |"
    " sed 's/.*\\///; s/\\.toml$//'",
}
"""Commands that print what there is, one a line."""

HEAD = "# Made by ./dev reference from the commands themselves."


def scripts() -> dict[str, str]:
    """Name of the file to its text."""
    made = {}
    for tree in (gleitzeit(), gleitzeitd()):
        name = tree.path[0]
        made[f"{name}.bash"] = "\n".join(_bash(tree)) + "\n"
        made[f"_{name}"] = "\n".join(_zsh(tree)) + "\n"
        made[f"{name}.fish"] = "\n".join(_fish(tree)) + "\n"
    return made


def _asked(tree: Command) -> list[str]:
    """The keys of ``ASK`` that values of the command need."""
    needed = {
        kind_of(command, value)
        for command in tree.everywhere()
        for value in (*command.options, *command.arguments)
        if not value.choices
    }
    return [kind for kind in ASK if kind in needed]


def kind_of(command: Command, option: Option) -> str:
    """How its value is completed: a key of ``ASK``, ``file``, ``workflow-file``, ``directory``, ``text``."""
    kind = KINDS.get(option.metavar, "text")
    if kind == "file" and command.path[-1] in WORKFLOW_FILES and not option.names:
        return "workflow-file"
    if command.path[0] == "gleitzeit" and kind == "instance":
        return "text"
    return kind


# --- bash -----------------------------------------------------------------------------------------

_BASH = r"""
_@name@_values() {
    case $1 in
        choice) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$cur") ;;
        file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
        workflow-file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -f -- "$cur" | grep -E '\.(ya?ml|json)$')
            ;;
@asked@
    esac
}

_@name@() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local path=@name@ commands options arguments valued word entry number=0 position=0
    if [[ $cur == "=" ]]; then
        cur=
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    _@name@_known "$path"
    for ((number = 1; number < COMP_CWORD; number++)); do
        word=${COMP_WORDS[number]}
        if [[ $word == -* ]]; then
            if [[ " ${valued[*]%%:*} " == *" $word "* ]]; then
                number=$((number + 1)) # its value
                [[ ${COMP_WORDS[number]} != "=" ]] || number=$((number + 1))
            fi
        elif [[ " $commands " == *" $word "* ]]; then
            path+=" $word"
            _@name@_known "$path"
        else
            position=$((position + 1))
        fi
    done
    for entry in "${valued[@]}"; do
        if [[ ${entry%%:*} == "$prev" ]]; then
            entry=${entry#*:}
            _@name@_values "${entry%%:*}" "${entry#*:}"
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
        _@name@_values "${entry%%:*}" "${entry#*:}"
    fi
}
"""


def _bash(tree: Command) -> Iterator[str]:
    name = tree.path[0]
    yield f"# Completion of {name} for bash."
    yield HEAD
    yield ""
    yield f"_{name}_known() {{"
    yield "    commands='' options='' arguments=() valued=()"
    yield "    case $1 in"
    for command in tree.everywhere():
        yield f"        {shlex.quote(' '.join(command.path))})"
        if command.commands:
            yield f"            commands='{' '.join(each.path[-1] for each in command.commands)}'"
        options = " ".join(option for each in command.options for option in each.names)
        yield f"            options='{options}'"
        values = [
            f"{option}:{_bash_value(command, each)}"
            for each in command.options
            if each.metavar
            for option in each.names
        ]
        if values:
            yield f"            valued=({' '.join(map(shlex.quote, values))})"
        if command.arguments and not command.commands:
            arguments = [shlex.quote(_bash_value(command, each)) for each in command.arguments]
            yield f"            arguments=({' '.join(arguments)})"
        yield "            ;;"
    yield from ("    esac", "}")
    asked = "\n".join(
        f'        {kind}) mapfile -t COMPREPLY < <(compgen -W "$({command})" -- "$cur") ;;'
        for kind, command in ((kind, ASK[kind]) for kind in _asked(tree))
    )
    yield _BASH.replace("@asked@", asked).replace("@name@", name).rstrip()
    yield ""
    yield f"complete -F _{name} {' '.join((name, *ALSO.get(name, ())))}"


def _bash_value(command: Command, option: Option) -> str:
    return f"choice:{' '.join(option.choices)}" if option.choices else f"{kind_of(command, option)}:"


# --- zsh ------------------------------------------------------------------------------------------


def _zsh(tree: Command) -> Iterator[str]:
    name = tree.path[0]
    yield f"#compdef {' '.join((name, *ALSO.get(name, ())))}"
    yield f"# Completion of {name} for zsh."
    yield HEAD
    for kind in _asked(tree):
        yield from _zsh_asked(name, kind, ASK[kind])
    for command in reversed(list(tree.everywhere())):
        yield from _zsh_command(command)
    yield from ("", f'_{name} "$@"')


def _zsh_asked(name: str, kind: str, command: str) -> Iterator[str]:
    yield from ("", f"_{name}_{kind}() {{", "    local -a found")
    yield f'    found=("${{(@f)$({command})}}")'
    yield from ("    compadd -a found", "}")


def _zsh_command(command: Command) -> Iterator[str]:
    yield from ("", f"_{'_'.join(command.path)}() {{")
    specs = [spec for each in command.options for spec in _zsh_option(command, each)]
    if not command.commands:
        for number, each in enumerate(command.arguments, start=1):
            place = "*" if each.repeated else f"{number}:" if each.optional else str(number)
            specs.append(f"{place}:{each.metavar.lower()}:{_zsh_value(command, each)}")
        yield from _zsh_arguments("    _arguments -s", specs)
        yield "}"
        return
    yield "    local context state state_descr line ret=1"
    yield "    typeset -A opt_args"
    yield from _zsh_arguments("    _arguments -s -C", [*specs, "1:command:->command", "*::argument:->rest"])
    yield "    case $state in"
    yield "        command)"
    yield "            local -a commands=("
    for inner in command.commands:
        yield f"                {shlex.quote(f'{inner.path[-1]}:{inner.about}')}"
    yield from ("            )", "            _describe -t commands command commands", "            ;;")
    yield "        rest)"
    yield "            case $line[1] in"
    for inner in command.commands:
        yield f"                {inner.path[-1]}) _{'_'.join(inner.path)} ;;"
    yield from ("            esac", "            ;;", "    esac", "}")


def _zsh_arguments(call: str, specs: list[str]) -> Iterator[str]:
    yield f"{call} \\"
    for number, spec in enumerate(specs):
        yield f"        {shlex.quote(spec)}" + (" \\" if number < len(specs) - 1 else "")


def _zsh_option(command: Command, option: Option) -> Iterator[str]:
    about = option.about.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    excluded = "*" if option.repeated else f"({' '.join(option.names)})"
    for name in option.names:
        value = f":{option.metavar.replace(':', ' ')}:{_zsh_value(command, option)}" if option.metavar else ""
        yield f"{excluded}{name}[{about}]{value}"


def _zsh_value(command: Command, option: Option) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    kind = kind_of(command, option)
    if kind in ASK:
        return f"_{command.path[0]}_{kind}"
    known = {"file": "_files", "directory": "_files -/", "workflow-file": '_files -g "*.(yaml|yml|json)"'}
    return known.get(kind, " ")


# --- fish -----------------------------------------------------------------------------------------

_FISH = """
# The commands typed so far, such as "config show".
function __@name@_path
    set -l known @paths@
    set -l path ''
    for word in (commandline -opc)[2..-1]
        set -l longer (string trim -- "$path $word")
        if contains -- $longer $known
            set path $longer
        end
    end
    echo $path
end

function __@name@_at
    test (__@name@_path) = "$argv[1]"
end
"""


def _fish(tree: Command) -> Iterator[str]:
    name = tree.path[0]
    yield f"# Completion of {name} for fish."
    yield HEAD
    paths = [shlex.quote(" ".join(each.path[1:])) for each in tree.everywhere() if each.path[1:]]
    yield _FISH.replace("@paths@", " ".join(paths) or "''").replace("@name@", name).rstrip()
    yield ""
    yield f"complete -c {name} -f"
    for command in tree.everywhere():
        path = shlex.quote(" ".join(command.path[1:]))
        at = f"complete -c {name} -n {_fish_quoted(f'__{name}_at {path}')}"
        for inner in command.commands:
            yield f"{at} -a {inner.path[-1]} -d {_fish_quoted(inner.about)}"
        for option in command.options:
            yield f"{at} {_fish_option(command, option)}"
        for argument in () if command.commands else command.arguments:
            yield f"{at} {_fish_value(command, argument)}"
    yield from (f"complete -c {other} -w {name}" for other in ALSO.get(name, ()))


def _fish_option(command: Command, option: Option) -> str:
    words = [f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names]
    if option.metavar:
        words += ["-r", _fish_value(command, option)]
    return " ".join([*words, "-d", _fish_quoted(option.about)])


def _fish_value(command: Command, option: Option) -> str:
    if option.choices:
        return f"-f -a {_fish_quoted(' '.join(option.choices))}"
    kind = kind_of(command, option)
    if kind in ASK:
        return f"-f -a {_fish_quoted(f'({ASK[kind]})')}"
    known = {"file": "-F", "workflow-file": "-k -a '(__fish_complete_suffix .yaml .yml .json)'"}
    return known.get(kind, "-f") if kind != "directory" else "-f -a '(__fish_complete_directories)'"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
