"""The manual pages and the completion are what the code says today, render cleanly, and their examples work."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from gleitzeitd import errors
from gleitzeitd.__main__ import run as gleitzeitd
from gleitzeitd.cli import cli
from gleitzeitd.events import CATALOGUE
from gleitzeitd.protocol_file import load as load_protocol
from gleitzeitd.runtime.journal import FIELDS
from gleitzeitd.workflow_file import load
from tests.test_documents import SCRIPTS, needs_scripts, typed

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ROOT / "packaging"
sys.path.append(str(PACKAGING))

from reference import commands, completion, pages, refusals, roff  # noqa: E402
from reference.files import generated, stale  # noqa: E402

FRAMES = sorted((PACKAGING / "manual").glob("*.[1-8].md"))
PAGES = sorted((PACKAGING / "man").iterdir())
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TREES = {tree.path[0]: tree for tree in (commands.gleitzeit(), commands.gleitzeitd())}
COMMANDS = [each for tree in TREES.values() for each in tree.everywhere()]
FREE = {
    "TEXT", "ID", "NAME", "NAME=VALUE", "SECONDS", "NUMBER", "URL", "JSON", "TASK", "TASKS", "PATH",
    "MODULE:CLASS", "MODULE[:CLASS]", "METHOD=JSON", "CHECK", "COMMAND", "PATTERN", "HOST:PORT", "DURATION", "ID|SUBJECT",
    "ADDRESS", "HOST", "TOKEN", "WHEN",
}  # fmt: skip
"""What stands for a value that nothing can complete."""


def fenced(*languages: str) -> list[str]:
    """The examples in the frames."""
    found = [each for frame in FRAMES for each in FENCED.findall(frame.read_text())]
    return [text for _, language, text in found if language in languages]


def typed_lines() -> list[str]:
    """Commands of ours in examples, without placeholders and pipes."""
    lines = [line for text in fenced("") for line in text.splitlines()]
    return sorted({re.split(r" [|&>]", line)[0] for line in lines if re.match(r"gleitzeitd? ", line)})


# --- up to date -----------------------------------------------------------------------------------


def test_what_is_generated_is_what_the_code_says_today() -> None:
    assert not stale(), "./dev reference writes them again"


def test_every_command_and_option_is_in_the_manual() -> None:
    for tree, page in ((TREES["gleitzeit"], "gleitzeit.1"), (TREES["gleitzeitd"], "gleitzeitd.8")):
        text = plain(page)
        for command in tree.everywhere():
            assert " ".join(command.path) in text
            for option in command.options:
                assert set(option.names) <= set(re.findall(r"--?[a-z][a-z-]*", text))


def test_every_event_is_in_the_manual() -> None:
    headings = re.findall(r'(?m)^\.SS "(\w+)"$', (PACKAGING / "man" / "gleitzeit-events.7").read_text())
    assert set(CATALOGUE) <= set(headings)


def test_every_field_of_the_journal_is_described() -> None:
    assert set(FIELDS.values()) == set(pages.JOURNAL)


def test_pages_refer_to_pages_that_exist() -> None:
    there = {path.name for path in PAGES}
    for path in PAGES:
        named = re.findall(r"(gleitzeitd?(?:[\w-]*)(?:\.toml)?)\((\d)\)", plain(path.name))
        assert named
        assert {f"{name}.{section}" for name, section in named} <= there, path.name


def plain(page: str) -> str:
    """The page's text without its marks."""
    return re.sub(r"\\f[BIR]|\\%|\\(?=-)|\\&", "", (PACKAGING / "man" / page).read_text()).replace("\\ ", " ")


# --- rendering ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_renders_without_a_warning(page: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-rLL=78n", "-Tascii", "-Z", page],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_another_formatter_has_nothing_to_say(page: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
    # A date would make the page another one with each build.
    assert not [line for line in done.stdout.splitlines() if "missing date" not in line]


def test_marks_lists_and_definitions_become_macros() -> None:
    source = """# x-y(5): a 'thing'

## One

Text with `a-b` and *PLACE*. Next.

- first
- .second

`--key` *N*
:   About it.

    ```
    .code -x
    ```
"""
    made = roff.page(source, version="v 1")
    assert '.TH X\\-Y 5 "" "v 1" "Gleitzeit"' in made
    assert made.endswith(
        """.SH "ONE"
Text with \\fB\\%a\\-b\\fR and \\fIPLACE\\fR.
Next.
.IP \\(bu 2
.PD 0
first
.IP \\(bu 2
\\&.second
.PD
.TP 4
\\fB\\%\\-\\-key\\fR \\fIN\\fR
About it.
.RS 4
.PP
.RS 4
.EX
\\&.code \\-x
.EE
.RE
.RE
"""
    )


@pytest.mark.parametrize("source", ["text", "# x(5): caf\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_page_without_a_title_or_beyond_ascii_is_refused(source: str) -> None:
    with pytest.raises(ValueError):
        roff.page(source, version="v")


# --- examples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", fenced("yaml"))
def test_a_workflow_in_the_manual_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(text)
    reading = load(str(tmp_path / "w.yaml")).read()
    assert reading.workflow is not None, reading.problems
    assert not reading.warnings


@pytest.mark.parametrize("text", fenced("protocol"))
def test_a_protocol_in_the_manual_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    found = load_protocol(tmp_path / "p.yaml").reading
    assert found.protocol is not None, found.problems
    assert not found.warnings


@pytest.mark.slow
@needs_scripts
@pytest.mark.parametrize("text", [each for each in fenced("yaml") if "${secret." not in each])
def test_a_workflow_in_the_manual_that_needs_no_secrets_completes(text: str, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(text)
    done = typed(f"PATH={SCRIPTS}:$PATH; gleitzeit run w.yaml", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [each for each in typed_lines() if each.startswith("gleitzeit ")])
def test_a_command_in_the_manual_exists_with_its_options(line: str) -> None:
    name, *arguments = shlex.split(re.sub(r"\$\([^)]*\)", "x", line))[1:]
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, name
    with suppress(click.MissingParameter):
        found.make_context(name, arguments, parent=click.Context(cli))


@pytest.mark.parametrize(
    "line", [each for each in typed_lines() if re.match(r"gleitzeitd (?!keygen)(?!.*(@|weather))", each)]
)
def test_a_daemon_in_the_manual_exists_with_its_options(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gleitzeitd([*shlex.split(line)[1:], "--check-config"], {}) == 0, capsys.readouterr().err


def test_every_refusal_and_every_limit_is_on_the_page_of_events_and_on_that_of_its_role() -> None:
    page = re.sub(r"\\[%&]", "", (PACKAGING / "man" / "gleitzeit-events.7").read_text()).replace("\\-", "-")
    for cls in [each for each in vars(errors).values() if isinstance(each, type)]:
        if issubclass(cls, errors.GleitzeitError):
            assert str(cls.code) in page, cls
    of = {"hub": "hub", "workflow_limits": "dependency-resolver", "calls": "provider"}
    limits = list(refusals.settings())
    assert len(limits) > 30
    for section, name, _ in limits:
        role = of.get(section, section.replace("_", "-"))
        text = (PACKAGING / "man" / f"gleitzeit-{role}.toml.5").read_text()
        assert f"{section}.{name}" in page
        assert name in re.sub(r"\\[%&]", "", text), (section, name)


# --- completion -----------------------------------------------------------------------------------


def completed(command: str, words: list[str], last: str) -> set[str]:
    """What bash offers for ``last`` after ``words``."""
    script = f"""
        compopt() {{ :; }}
        . {PACKAGING / "completion" / f"{command}.bash"}
        COMP_WORDS=({shlex.join([*words, last])}); COMP_CWORD={len(words)}
        _{command}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.path))
def test_bash_completes_every_command_and_option(command: commands.Command) -> None:
    options = {name for option in command.options for name in option.names}
    assert completed(command.path[0], list(command.path), "-") == options
    if command.commands:
        assert completed(command.path[0], list(command.path), "") == {
            each.path[-1] for each in command.commands
        }


def test_bash_completes_values() -> None:
    assert completed("gleitzeit", ["gleitzeit", "--json", "list", "--status"], "c") == {
        "cancelled", "cancelling", "completed",
    }  # fmt: skip
    assert completed("gleitzeit", ["gleitzeit", "run", "--id", "x"], "examples/h") == {
        "examples/hello.yaml", "examples/http.yaml",
    }  # fmt: skip
    assert completed("gleitzeit", ["gleitzeit", "resolve", "w", "t"], "") == {"rerun", "fail", "done"}
    assert completed("gleitzeitd", ["gleitzeitd"], "q") == {"queue-manager"}
    assert completed("gleitzeit", ["gleitzeit", "validate", "a.yaml", "b.yaml"], "examples/h") == {
        "examples/hello.yaml", "examples/http.yaml",
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.path))
def test_fish_completes_every_command_and_option(command: commands.Command) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    file = PACKAGING / "completion" / f"{command.path[0]}.fish"
    line = f"source {file}; complete -C '{' '.join(command.path)} -'"
    done = subprocess.run(["fish", "--no-config", "-c", line], capture_output=True, text=True, check=True)
    assert not done.stderr
    found = {each.split("\t")[0] for each in done.stdout.splitlines()}
    assert found >= {name for option in command.options for name in option.names}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.path))
def test_zsh_is_told_of_every_command_and_option(command: commands.Command) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    # What the function hands to zsh's own completion, which is not loaded here.
    stubs = '_arguments() { print -rl -- "$@"; state=command }; _describe() { print -rl -- ${(P)4} }'
    file = PACKAGING / "completion" / f"_{command.path[0]}"
    line = f"{stubs}; {{ . {file} }} >/dev/null; line=(x); _{'_'.join(command.path)}"
    done = subprocess.run(["zsh", "-fc", line], capture_output=True, text=True, check=True)
    assert not done.stderr
    told = set(re.findall(r"(?m)^(?:\*|\([^)]*\))(-[\w-]*)\[", done.stdout))
    assert told == {name for option in command.options for name in option.names}
    assert {each.path[-1] for each in command.commands} <= {
        each.split(":")[0] for each in done.stdout.splitlines()
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.path))
def test_how_a_value_is_completed_has_been_decided(command: commands.Command) -> None:
    values = [each for each in (*command.options, *command.arguments) if each.metavar and not each.choices]
    undecided = {each.metavar for each in values} - completion.KINDS.keys() - FREE
    assert not undecided, "KINDS in packaging/reference/completion.py, or FREE here"


def test_only_what_is_generated_is_in_its_folders() -> None:
    assert {path.parent.name for path in generated()} == {"man", "completion", "sdk"}


# --- on a host ------------------------------------------------------------------------------------

DOCUMENTS = [ROOT / "README.md", PACKAGING / "container" / "README.md", *FRAMES]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_names_only_packages_and_units_that_there_are(document: Path) -> None:
    text = document.read_text().replace("\\\n", " ")
    control = (ROOT / "debian" / "control").read_text()
    packages = set(re.findall(r"(?m)^Package: (\S+)$", control))
    installed = re.findall(r"apt install ([a-z0-9 -]+)", text)
    assert {name for names in installed for name in names.split()} <= packages
    units = {path.name for path in (ROOT / "systemd").iterdir()}
    named = re.findall(r"(?:systemctl \w+(?: --now)?|journalctl -u) (gleitzeit[\w.-]*@?)", text)
    assert {name.rstrip(".") for name in named} <= units | {name.removesuffix(".service") for name in units}
