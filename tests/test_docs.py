"""The documents are true: what they name exists, where they lead is something."""

import ast
import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
PACKAGES = ("featurestore", "models", "pipeline")
DOCUMENTS = sorted([HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *HOUSE.glob("docs/**/*.md")])
ARCHITECTURE = HOUSE / "docs" / "architecture.md"
PICTURE = HOUSE / "docs" / "architecture.svg"
GLOSSARY = HOUSE / "docs" / "glossary.md"

SOURCES = sorted(
    [
        HOUSE / "cli.py",
        HOUSE / "tagger.py",
        *(path for name in PACKAGES for path in (HOUSE / name).rglob("*.py")),
    ]
)
FOLDERS = {str(path.parent.relative_to(HOUSE)) for path in SOURCES} - {"."}


def spans(path: Path) -> list[str]:
    """What a document writes as code within its sentences."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    return re.findall(r"`([^`\n]+)`", text)


def is_path(span: str) -> bool:
    """Whether it names a file or folder of the project, and none that is to be made."""
    is_file = re.fullmatch(r"(\./)?[\w.-]+(/[\w.-]+)*\.(py|md|toml|svg|yml|cff|csv)", span)
    is_folder = span.split("/")[0] in (*PACKAGES, "tests", "docs", "benchmarks")
    return bool(is_file or is_folder) and re.fullmatch(r"[\w./-]+", span) is not None


def section(heading: str) -> str:
    """Of the page on the architecture."""
    return ARCHITECTURE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def in_picture(kind: str) -> set[str]:
    texts = ElementTree.parse(PICTURE).iter("{http://www.w3.org/2000/svg}text")
    return {text.text or "" for text in texts if kind in text.get("class", "").split()}


def test_the_architecture_names_every_folder_and_none_that_is_not_there():
    folders = re.findall(r"^\| `([^`]+)` \|", section("The folders"), re.MULTILINE)
    described = {folder for folder in folders if not folder.endswith(".py")}
    assert described == FOLDERS


def test_the_picture_shows_every_folder_and_none_that_is_not_there():
    assert in_picture("room") == FOLDERS
    assert [name for name in in_picture("file") if not (HOUSE / name).is_file()] == []


def test_the_readmes_layout_names_what_is_there():
    block = (HOUSE / "README.md").read_text().split("## Layout\n\n```\n")[1].split("```")[0]
    names = [line.split()[0] for line in block.splitlines()]
    assert set(names) >= {"cli.py", *(f"{package}/" for package in PACKAGES)}
    assert [name for name in names if not (HOUSE / name).exists()] == []


def folder_of(module: str) -> str | None:
    """The folder that a module or package is in; None if it is none of this project."""
    path = Path(*module.split("."))
    if path.parts[0] not in PACKAGES:
        return None
    return str(path if (HOUSE / path).is_dir() else path.parent)


def imports_of(path: Path) -> set[str]:
    """Folders that a file imports from; not what it imports for typing only."""
    found: set[str | None] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (HOUSE / whole.replace(".", "/")).with_suffix(".py").is_file()
                is_package = (HOUSE / whole.replace(".", "/")).is_dir()
                found.add(folder_of(whole if is_module or is_package else str(node.module)))
        elif isinstance(node, ast.Import):
            found.update(folder_of(alias.name) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return {folder for folder in found if folder is not None}


def import_table() -> list[str]:
    """The lines of the architecture's table of imports, as the sources have them."""
    lines = []
    for folder in sorted(FOLDERS):
        files = [path for path in SOURCES if str(path.parent.relative_to(HOUSE)) == folder]
        used = set().union(*map(imports_of, files)) - {folder}
        lines.append(f"| `{folder}` | {', '.join(f'`{name}`' for name in sorted(used)) or '–'} |")
    return lines


def test_the_table_of_imports_is_what_the_files_import():
    lines = section("What imports what").splitlines()
    assert [line for line in lines if line.startswith("| `")] == import_table()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_files_that_a_document_names_exist(path):
    if path.parent.name == "docs" and path not in (ARCHITECTURE, GLOSSARY):
        places = (HOUSE, path.parent)  # users' pages name files of users, too
        named = [span for span in spans(path) if is_path(span) and span.split("/")[0] in PACKAGES]
    else:
        places = (HOUSE, *(HOUSE / name for name in PACKAGES))
        named = [span for span in spans(path) if is_path(span)]
    missing = [n for n in named if "NAME" not in n and not any((p / n).exists() for p in places)]
    assert missing == []


@pytest.mark.parametrize("path", [ARCHITECTURE, GLOSSARY], ids=lambda path: path.name)
def test_names_of_code_that_a_document_mentions_are_in_the_code(path):
    code = "\n".join(source.read_text(encoding="utf-8") for source in SOURCES)
    words = set(re.findall(r"\w+", code))
    names = {span for span in spans(path) if re.fullmatch(r"[A-Za-z_]\w*", span)}
    assert sorted(names - words) == []


def test_code_only_words_of_the_glossary_are_still_used():
    """One that is gone from the code is gone from the glossary, too."""
    sources = [*SOURCES, *HOUSE.glob("benchmarks/**/*.py"), *HOUSE.glob("tests/**/*.py")]
    others = (p for p in sources if p != Path(__file__))
    code = "\n".join(path.read_text(encoding="utf-8") for path in others)
    private = re.findall(r"^- \*\*(.+?)\*\*: code only", GLOSSARY.read_text(), re.MULTILINE)
    assert private
    unused = [
        word
        for word in private
        if not re.search(rf"\b{re.escape(word).replace(chr(92) + ' ', '[_ ]')}", code, re.I)
    ]
    assert unused == []


def test_the_glossary_is_alphabetical():
    words = re.findall(r"^- \*\*(.+?)\*\*:", GLOSSARY.read_text(), re.MULTILINE)
    assert len(words) > 50
    assert words == sorted(words, key=str.lower)
    assert len(set(words)) == len(words)


def anchors(path: Path) -> set[str]:
    """Where a link can lead to within a document, as GitHub and mkdocs name headings."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_relative_links_lead_to_files_and_headings_that_exist(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if there == HOUSE / "docs" / "notebook.md":
            there = there.with_suffix(".ipynb")  # which `make notebook` makes the page of
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def words_of(path: Path) -> set[str]:
    return set(re.findall(r"\w+", path.read_text(encoding="utf-8")))


def leads_to_code(name: str, place: Path) -> bool:
    """Whether a dotted name is of a module, of one beside `place`, of a class or of a library."""
    first, *others = name.split(".")
    if first in PACKAGES:
        module = next(
            (m for n in range(len(others), -1, -1) if (m := module_of([first, *others[:n]]))), None
        )
        return module is not None and others[-1] in words_of(module) | {module.stem}
    beside = place.parent / f"{first}.py"
    if beside.is_file():
        return others[0] in words_of(beside)
    if first[0].isupper():
        pattern = re.compile(rf"^class {first}\b", re.MULTILINE)
        homes = [p for p in SOURCES if pattern.search(p.read_text(encoding="utf-8"))]
        return any(others[0] in words_of(home) for home in homes)
    return importlib.util.find_spec(first) is not None


def module_of(parts: list[str]) -> Path | None:
    path = HOUSE.joinpath(*parts)
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def test_dotted_names_in_docstrings_lead_to_code():
    wrong = [
        f"{path.relative_to(HOUSE)}: {name}"
        for path in SOURCES
        for name in re.findall(
            r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)+)`(?!`)", path.read_text(encoding="utf-8")
        )
        if not leads_to_code(name, path)
    ]
    assert wrong == []
