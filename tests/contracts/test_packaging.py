"""What an installed hwcomp must hold, and what importing it must not cost."""

import ast
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hwcomp
from hwcomp import errors

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LINKED = ("passes", "targets", "cost_models")
HEAVY = {"torch", "onnxruntime", "onnx", "onnx_ir", "scipy", "numpy", "plotly", "pydantic", "typer", "jinja2"}


def config() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules() -> list[Path]:
    folders = [ROOT / "hwcomp", *(ROOT / name for name in LINKED)]
    found = {path.resolve() for folder in folders for path in folder.rglob("*.py") if "__pycache__" not in path.parts}
    return sorted(found)


@pytest.mark.parametrize("name", LINKED)
def test_the_folder_is_linked_into_the_package(name: str) -> None:
    link = ROOT / "hwcomp" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"  # noqa: PTH115 - as written, not resolved
    assert importlib.import_module(f"hwcomp.{name}").__name__ == f"hwcomp.{name}"


def test_every_package_is_installed() -> None:
    folders = {path.parent for path in modules()}
    found = set()
    for folder in folders:
        parts = folder.relative_to(ROOT).parts
        found.add(".".join(parts if parts[0] == "hwcomp" else ("hwcomp", *parts)))
    assert found == set(config()["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("name", LINKED)
def test_the_second_name_of_a_module_is_banned(name: str) -> None:
    banned = config()["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert f"hwcomp.{name}" in banned[name]["msg"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "no docstring"
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not {name.split(".")[0] for name in imported} & set(LINKED)


def test_the_wheel_is_complete(tmp_path: Path) -> None:
    """Built from a copy, so that nothing is left in the tree."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("hwcomp", *LINKED):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "dist", "."]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = (source / "dist").glob("hwcomp-*.whl")
    content = set(zipfile.ZipFile(wheel).namelist())
    expected = {"hwcomp/py.typed"}
    for path in modules():
        parts = path.relative_to(ROOT).parts
        expected.add("/".join(parts if parts[0] == "hwcomp" else ("hwcomp", *parts)))
    expected |= {f"hwcomp/targets/{path.name}" for path in (ROOT / "targets").glob("*.toml")}
    templates = [path for path in (ROOT / "hwcomp/templates").iterdir() if path.is_file() and path.suffix != ".py"]
    expected |= {f"hwcomp/templates/{path.name}" for path in templates}
    assert templates
    assert expected - content == set()
    outside = {name.split("/")[0] for name in content}
    assert outside == {"hwcomp", f"hwcomp-{hwcomp.__version__}.dist-info"}


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_hwcomp_loads_nothing_heavy() -> None:
    assert loaded_after("import hwcomp") & HEAVY == set()


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    assert loaded_after("import hwcomp.cli") & {"torch", "onnxruntime", "onnx", "scipy", "plotly"} == set()


def test_public_names_resolve_and_are_sorted() -> None:
    assert list(hwcomp.__all__) == sorted(hwcomp.__all__)
    assert dir(hwcomp) == list(hwcomp.__all__)
    for name in hwcomp.__all__:
        assert getattr(hwcomp, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = hwcomp.nothing


def test_every_exception_is_a_hwcomp_error() -> None:
    found = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, BaseException)]
    assert len(found) > 1
    for value in found:
        assert issubclass(value, errors.HwcompError)
        assert value.exit_code in (1, 2, 3)
    trees = [ast.parse(path.read_text()) for path in modules() if path.name != "errors.py"]
    classes = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    defined = [name for name in classes if name.endswith(("Error", "Failure"))]
    assert defined == [], "exceptions belong in hwcomp/errors.py"
