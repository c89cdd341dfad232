"""The maps of the repository show what is there: every path, function and class that they name exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
ROOTS = [REPOSITORY, REPOSITORY / "operator" / "masktrain_operator", REPOSITORY / "trainer" / "masktrain_trainer"]
ARCHITECTURE = "docs/architecture.md"
PAGES = [ARCHITECTURE, "CONTRIBUTING.md"]
MOST_RETURNS = 6
"""How often a walk may come back to a module that it has left."""

PATH = re.compile(r"`((?:[\w.\-]+/)*[\w.\-]+\.(?:py|md|toml|yaml)|(?:[\w.\-]+/)+)`")
CALL = re.compile(r"`([A-Za-z_][\w.]*)\(\)`")
CLASS = re.compile(r"`([A-Z][a-z]+[A-Za-z]*)`")
MODULE = re.compile(r"\b(masktrain_(?:operator|trainer)(?:\.\w+)+)\b")
FORBIDDEN = {"operator.py"}
"""Named because they must not exist."""


def text(page: str) -> str:
    """Without blocks of code: pictures and shell commands."""
    return re.sub(r"^```.*?^```", "", (REPOSITORY / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def find(path: str, folder: str = "") -> Path | None:
    """As it stands, within a layer of either half, or in the folder that the paragraph is about."""
    candidates = [root / folder / path for root in ROOTS] + [root / path for root in ROOTS]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def lines(page: str) -> list[tuple[str, str]]:
    """Every line with the folder it starts with, as paragraphs about folders do."""
    return [(line, start[1] if (start := re.match(r"`((?:\w+/)+)`", line)) else "") for line in text(page).splitlines()]


@cache
def defined(path: Path) -> set[str]:
    """Functions, classes, and methods as Class.method."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page: str) -> None:
    named = {(path, folder) for line, folder in lines(page) for path in PATH.findall(line)}
    assert len(named) > 20
    assert sorted(path for path, folder in named if path not in FORBIDDEN and find(path, folder) is None) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text(page))
    assert [link for link in links if not ((REPOSITORY / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_function_stands_in_a_file_of_its_line(page: str) -> None:
    missing = []
    for line, folder in lines(page):
        files = [found for path in PATH.findall(line) if path.endswith(".py") and (found := find(path, folder))]
        names = set(CALL.findall(line)) | (set(CLASS.findall(line)) if files and _is_a_hop(line) else set())
        known = set().union(*map(defined, files)) if files else set()
        missing += [f"{name} in {line[:80]}" for name in names if name not in known and name not in ELSEWHERE]
    assert missing == []


ELSEWHERE = {"Observed", "Refusal"}
"""Types that a hop mentions without saying where they are: `core/types.py`."""


def _is_a_hop(line: str) -> bool:
    return re.match(r"\d+\. ", line) is not None


@pytest.mark.parametrize("page", PAGES)
def test_every_module_exists(page: str) -> None:
    whole = (REPOSITORY / page).read_text(encoding="utf-8")
    paths = {name: name.replace(".", "/") for name in MODULE.findall(whole)}
    halves = [REPOSITORY / "operator", REPOSITORY / "trainer"]
    found = {
        name
        for name, path in paths.items()
        if any((half / path).is_dir() or (half / f"{path}.py").exists() for half in halves)
    }
    assert set(paths) == found


def walks() -> dict[str, list[str]]:
    """The modules of every walk in their order."""
    section = text(ARCHITECTURE).partition("## Three walks")[2].partition("\n## ")[0]
    parts = re.split(r"^### (.+)$", section, flags=re.MULTILINE)[1:]
    return {
        title: [
            path for line in body.splitlines() if _is_a_hop(line) for path in PATH.findall(line) if path.endswith(".py")
        ]
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.mark.parametrize("title", walks())
def test_a_walk_comes_back_seldom(title: str) -> None:
    """Whoever follows the calls is sent back to a module as often as the next one is called from an earlier one."""
    way: list[Path] = []
    returns = []
    for path in filter(None, map(find, walks()[title])):
        callers = [position for position, module in enumerate(way) if _calls(module, path)]
        if way and way[-1] != path and callers and callers[-1] != len(way) - 1:
            returns.append(f"{way[callers[-1]].name} to {path.name}")
            way = way[: callers[-1] + 1]
        way = [*way, path] if callers else [path]
    assert len(returns) <= MOST_RETURNS, returns


@cache
def _imports(path: Path) -> frozenset[str]:
    """What a module imports, as dotted names: modules, and names out of modules."""
    package = _module(path).split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _calls(caller: Path, called: Path) -> bool:
    """Whether it imports the module, or a name of it that the package passes on."""
    name = _module(called)
    passed_on = {f"{name.rpartition('.')[0]}.{defined_name}" for defined_name in defined(called)}
    return bool(_imports(caller) & ({name} | passed_on))


def _module(path: Path) -> str:
    """`masktrain_operator.core.plan` of its path."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts[1:])
