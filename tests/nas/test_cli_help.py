"""The command line teaches: every command has help with examples, and help is quick because nothing heavy is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from nas.cli import app

SURFACE = Path(__file__).with_name("cli_surface.txt")
HEAVY = ("torch", "ray", "optuna", "plotly", "sqlalchemy", "alembic", "sklearn", "timm", "numpy")


def commands(group=None, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Return every command that does something, by the words that call it."""
    found: dict[tuple[str, ...], object] = {}
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, (*words, name))
        else:
            found[*words, name] = command
    return found


ALL = commands()


def test_help_lists_every_command(nas) -> None:
    ran = nas("--help")
    assert ran.code == 0
    listed = {line.split()[0] for line in ran.out.partition("Commands:")[2].splitlines() if line.startswith("  ")}
    assert {words[0] for words in ALL} <= listed
    assert "..." not in ran.out.partition("Commands:")[2]


def test_no_command_is_help_too(nas) -> None:
    assert nas() == nas("--help")
    assert nas("space") == nas("space", "--help")
    assert nas("models") == nas("models", "--help")


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_a_purpose_explained_options_and_examples(nas, words: tuple[str, ...]) -> None:
    ran = nas(*words, "--help")
    assert ran.code == 0
    assert ran.err == ""
    assert " ".join(ALL[words].help.split("\n\n")[0].split()).endswith(".")
    assert f"nas {' '.join(words)}" in ran.out.partition("Examples:")[2]
    for parameter in ALL[words].params:
        assert parameter.help, f"{parameter.name} is not explained"
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in ran.out


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_defaults_are_shown(words: tuple[str, ...]) -> None:
    for parameter in ALL[words].params:
        flag = getattr(parameter, "is_flag", False) or parameter.default is False or parameter.name == "help"
        assert parameter.required or flag or parameter.show_default, f"{words}: {parameter.name}"


def test_the_surface_is_the_agreed_one() -> None:
    lines: list[str] = []
    for words, command in sorted(ALL.items()):
        given = [p for p in command.params if p.param_type_name == "option"]
        options = sorted(o for p in given for o in (*p.opts, *p.secondary_opts))
        arguments = [p.metavar for p in command.params if p.param_type_name == "argument"]
        lines.append(" ".join([*words, *arguments, *(o for o in options if o not in ("--help", "-h"))]))
    assert lines == SURFACE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["--version"], ["serach"]], ids=" ".join)
def test_help_and_slips_load_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom nas.__main__ import main\n"
        f"main({words!r})\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "LOADED []"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, nas; nas.__version__; print([n for n in {HEAVY!r} if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_package_offers_load_and_nothing_else() -> None:
    import nas
    from nas.export import load

    assert nas.load is load
    with pytest.raises(AttributeError, match="no_such_thing"):
        nas.no_such_thing  # noqa: B018 -- the access is the test
