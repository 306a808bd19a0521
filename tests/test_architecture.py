"""The house rules of docs/architecture.md and CONTRIBUTING.md, as far as a program can tell."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from setuptools import find_packages

HOUSE = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())
PACKAGES = ("featurestore", "pipeline", "models")
MODULES = ("cli", "tagger")
SOURCES = sorted(
    path.relative_to(HOUSE)
    for path in [
        *(HOUSE / f"{name}.py" for name in MODULES),
        *(p for name in PACKAGES for p in (HOUSE / name).rglob("*.py")),
    ]
)
TREES = {path: ast.parse((HOUSE / path).read_text(), str(path)) for path in SOURCES}


class Import(NamedTuple):
    module: str  # "featurestore.store"; a name imported from a package counts as its module
    for_typing: bool


def imports(path: Path) -> set[Import]:
    """All that a source file imports, at its top, within functions and for typing only."""
    found = set()

    def visit(node: ast.AST, for_typing: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, for_typing)
            return
        if isinstance(node, ast.Import):
            found.update(Import(alias.name, for_typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute in this house"
            found.update(Import(f"{node.module}.{alias.name}", for_typing) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, for_typing)

    visit(TREES[path], False)
    return found


def of_package(name: str) -> list[Path]:
    return [path for path in SOURCES if path.parts[0] in (name, f"{name}.py")]


def is_within(module: str, *names: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


# fmt: off
FORBIDDEN = {
    "featurestore": (
        "pipeline", "models", *MODULES,
        "torch", "dask", "distributed", "soundfile", "librosa", "soxr", "essentia",
    ),
    "pipeline": ("models", *MODULES),
    "models": ("pipeline", *MODULES, "dask", "soundfile", "librosa", "soxr", "zarr"),
    # It joins audio and networks, and does neither.
    "tagger": ("cli", "torch", "dask", "distributed", "soundfile", "librosa", "soxr", "zarr"),
    "cli": (),
}
# fmt: on


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package):
    wrong = [
        f"{path} imports {module}"
        for path in of_package(package)
        for module, _ in imports(path)
        if is_within(module, *FORBIDDEN[package])
    ]
    assert wrong == []


def test_only_models_data_touches_the_store():
    """Errors, specs and types are words, which all may use; so is what touches no store at all."""
    words = ("errors", "result", "specs", "process", "storage.atomic")
    wrong = [
        f"{path} imports {module}"
        for path in of_package("models")
        if path.parts[:2] != ("models", "data")
        for module, for_typing in imports(path)
        if is_within(module, "featurestore") and not for_typing
        if not is_within(module, *(f"featurestore.{word}" for word in words))
        if module != "featurestore.FeatureSpec"
    ]
    assert wrong == []


def test_storage_knows_nothing_of_what_is_stored():
    wrong = [
        f"{path} imports {module}"
        for path in of_package("featurestore")
        if path.parts[1] == "storage"
        for module, _ in imports(path)
        if is_within(module, *PACKAGES)
        if not is_within(module, "featurestore.storage", "featurestore.errors")
    ]
    assert wrong == []


def test_modules_import_one_another_without_circles():
    """Within functions too; imports for typing alone need not be there at run time."""
    names = {
        path: ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in SOURCES
    }
    known = set(names.values())
    uses = {
        names[path]: {
            found
            for module, for_typing in imports(path)
            if not for_typing
            if (found := module if module in known else module.rpartition(".")[0]) in known
            if found != names[path]
        }
        for path in SOURCES
    }
    graphlib.TopologicalSorter(uses).prepare()  # raises CycleError, which names the circle


def test_a_room_holds_a_dozen_at_most():
    full = {
        str(folder): len(inside)
        for folder in {path.parent for path in SOURCES}
        if len(inside := [p for p in SOURCES if p.parent == folder and p.stem != "__init__"]) > 14
    }
    assert full == {}


def test_essentia_is_imported_by_its_backend_alone():
    users = [p for p in SOURCES if any(is_within(module, "essentia") for module, _ in imports(p))]
    assert users == [Path("pipeline/features/backends/essentia.py")]


def test_every_package_is_listed_in_pyproject():
    packages = {".".join(path.parent.parts) for path in SOURCES if path.name == "__init__.py"}
    found = find_packages(str(HOUSE), **PYPROJECT["tool"]["setuptools"]["packages"]["find"])
    assert set(found) == packages
    assert PYPROJECT["tool"]["setuptools"]["py-modules"] == list(MODULES)
    folders = {".".join(path.parent.parts) for path in SOURCES if len(path.parts) > 1}
    assert folders == packages, "a folder of sources without __init__.py is no package"


def test_what_is_imported_is_declared_as_a_dependency():
    project = PYPROJECT["project"]
    declared = project["dependencies"] + [
        name
        for extra in ("essentia", "ffmpeg", "onnx", "parquet", "s3", "train", "tune")
        for name in project["optional-dependencies"][extra]
    ]
    distributions = {re.split(r"[\[<>=]", text)[0].lower() for text in declared}
    extras = {extra for text in declared for extra in re.findall(r"\[(\w+)\]", text)}
    named_otherwise = {
        "botocore": "s3fs",
        "google_crc32c": "google-crc32c",
        "sklearn": "scikit-learn",
    }
    used = {module.split(".")[0] for path in SOURCES for module, _ in imports(path)}
    foreign = used - set(sys.stdlib_module_names) - {*PACKAGES, *MODULES}
    assert {named_otherwise.get(name, name) for name in foreign} <= distributions | extras


def test_no_module_is_called_after_nothing():
    nothing = {"utils", "util", "helpers", "common", "misc"}
    assert [path for path in SOURCES if nothing & {path.stem, path.parent.name}] == []


def test_no_function_passes_keywords_through():
    wrong = [
        f"{path}:{node.lineno} {node.name}(**{node.args.kwarg.arg})"
        for path, tree in TREES.items()
        if path != Path("cli.py")  # Click calls commands with their options as keywords
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg
    ]
    assert wrong == []


def test_no_setting_comes_from_the_environment():
    wrong = [
        f"{path}:{node.lineno} {ast.unparse(node)}"
        for path, tree in TREES.items()
        if path != Path("pipeline/run/processes.py")  # gives processes theirs, and takes none
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id)
        in ("environ", "environb", "getenv", "putenv")
    ]
    assert wrong == []


def test_text_files_are_read_and_written_in_an_encoding_that_is_named():
    place = {"open": 3, "read_text": 0, "write_text": 1}  # of the encoding among the arguments
    wrong = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            function = ast.unparse(node.func)
            name = "open" if function.endswith(".fdopen") else function.split(".")[-1]
            as_text = name in ("read_text", "write_text") or function in ("open", "os.fdopen")
            # os.open and what else is called so are told by their modes.
            modes = [ast.unparse(argument) for argument in (*node.args, *node.keywords)]
            as_text |= name == "open" and any(mode in ("'w'", "'a'", "'r'") for mode in modes)
            if not as_text or any(re.fullmatch(r"(mode=)?'[rwax]\+?b\+?'", mode) for mode in modes):
                continue
            named = {keyword.arg for keyword in node.keywords}
            if "encoding" not in named and len(node.args) <= place[name]:
                wrong.append(f"{path}:{node.lineno} {ast.unparse(node)}")
    assert wrong == []


def test_nothing_unpickles_or_evaluates():
    wrong = [
        f"{path} imports {module}"
        for path in SOURCES
        for module, _ in imports(path)
        if is_within(module, "pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")
    ]
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if (
                name in ("eval", "exec", "compile", "__import__")
                or (name == "torch.load" and keywords.get("weights_only") != "True")
                or keywords.get("allow_pickle") == "True"
            ):
                wrong.append(f"{path}:{node.lineno} {ast.unparse(node)}")
    assert wrong == []


# fmt: off
HEAVY = (
    "dask", "distributed", "h5py", "librosa", "llvmlite", "matplotlib", "numba", "numcodecs",
    "pandas", "scipy", "sklearn", "soundfile", "soxr", "torch", "xarray", "zarr",
)
# fmt: on


@pytest.mark.parametrize("module", ["cli", "tagger", "featurestore", "featurestore.specs.mel"])
def test_importing_loads_nothing_heavy(module):
    program = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=HOUSE, capture_output=True, text=True, check=True
    ).stdout.split()
    assert module in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_who_plans_a_run_loads_neither_pytorch_nor_what_is_compiled():
    program = "import pipeline.run.run, pipeline.features.backends.native, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=HOUSE, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pipeline.run.task" in loaded
    assert [name for name in ("numba", "torch") if name in loaded] == []


def test_tests_mirror_the_packages():
    """What tests several modules is called after their folder, or lies beside the folders."""
    strays = []
    for path in sorted((HOUSE / "tests").rglob("test_*.py")):
        *folder, file = path.relative_to(HOUSE / "tests").parts
        name = Path(file).stem.removeprefix("test_")
        modules = {p.stem for p in SOURCES if p.parts[:-1] == tuple(folder)}
        rooms = {p.parts[len(folder)] for p in SOURCES if p.parts[: len(folder)] == tuple(folder)}
        if folder and name not in modules | rooms | {folder[-1], "conformance"}:
            strays.append("/".join([*folder, file]))
    assert strays == []
    assert list((HOUSE / "tests").rglob("__init__.py")) == []
