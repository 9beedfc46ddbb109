"""The package as others meet it: light to import, one locked set of versions, every verb documented."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("pandas", "numba", "duckdb", "pyarrow", "numpy", "scipy", "deltalake", "chdb", "pyspark")


def _imported(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_jurat_imports_nothing_heavy() -> None:
    assert _imported("import jurat") == set()


def test_the_help_of_the_command_line_imports_nothing_heavy() -> None:
    quiet = "with contextlib.redirect_stdout(io.StringIO())"
    statement = f"import jurat.cli, io, contextlib\n{quiet}: jurat.cli.build_app()(['--help'])"
    code = f"import sys\n{statement}\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def _pins(name: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines():
        match = re.match(r"([a-z0-9._-]+)==([^ ;\\]+)", line)
        if match:
            pins.setdefault(match[1], set()).add(match[2])
    return pins


@pytest.mark.parametrize("part", ["core.lock", "build.lock"])
def test_every_lock_is_a_part_of_the_one_set(part: str) -> None:
    whole = _pins("dev.lock")
    for name, versions in _pins(part).items():
        assert versions == whole.get(name), name


def test_the_locked_core_is_what_the_package_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.match(r"[a-z0-9._-]+", d)[0] for d in project["dependencies"]}  # type: ignore[index]
    listed = {
        line.strip()
        for line in (ROOT / "requirements/core.in").read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    }
    assert declared == listed <= set(_pins("core.lock"))


def test_the_wheel_carries_its_templates_metrics_and_bar() -> None:
    package = ROOT / "src" / "jurat"
    assert {p.name for p in (package / "launch/templates").iterdir()} == {"dossier.html.j2"}
    assert {p.name for p in (package / "evidence/templates").iterdir()} == {"sheet.css"}
    assert (package / "cli/demo_bar.toml").is_file()
    assert len(list((package / "metrics").glob("*.sql"))) >= 7


def test_every_command_names_a_function_that_exists_and_explains_itself() -> None:
    import importlib

    from jurat import cli

    targets = [t for t, _ in cli._COMMANDS.values()]
    targets += [t for _, commands in cli._GROUPS.values() for t, _ in commands.values()]
    for target in targets:
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(module), name)
        assert function.__doc__ and "Parameters" in function.__doc__, target
        assert "json" in function.__annotations__, target


def test_the_example_bar_is_the_one_the_demo_ships() -> None:
    example = (ROOT / "examples/assistant/bar.toml").read_text(encoding="utf-8")
    assert example == (ROOT / "src/jurat/cli/demo_bar.toml").read_text(encoding="utf-8")
