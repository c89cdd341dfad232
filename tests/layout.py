"""How the sources are cut, in numbers: `python -m tests.layout` prints a table and fails where a bound is exceeded.

Few large rooms that one can name are easier to walk through than many corridors, and no room is to become a hall. The
bounds are those that the regrouping of the first version was to reach; `make check` and tests/unit/test_layout.py hold
them.
"""

import ast
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).parents[1]
SHORT_LINES = 40
LINES_OF_THE_BOUND = 37_000
"""As many as there were when the number of modules was bounded."""
ROOTS = {"operator": "operator", "trainer": "trainer", "client": "client"}
"""Folders that are not packages themselves but hold one; all others are imported by their own name."""


@dataclass(frozen=True)
class Module:
    """A Python file."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def lines(self) -> int:
        return len(self.path.read_text(encoding="utf-8").splitlines())

    @property
    def is_entry_point(self) -> bool:
        """Started by its name and imported by nobody: as short as what it starts allows."""
        return self.path.name == "__main__.py"

    @property
    def shown_path(self) -> str:
        return str(self.path.relative_to(REPOSITORY))

    def functions(self) -> Iterator[tuple[str, int]]:
        """Name and length in lines, decorators aside."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{self.shown_path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1

    def imported_names(self) -> Iterator[str]:
        """Absolute dotted names, wherever they are imported; for `from a import b` both `a.b` and `a`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base_of(node)
                for alias in node.names:
                    yield f"{base}.{alias.name}"
                yield base

    def reexports(self) -> Iterator[tuple[str, str]]:
        """Of a package's `__init__`: the dotted name that it offers, and the module that has it."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom):
                base = self._base_of(node)
                yield from ((f"{self.name}.{alias.asname or alias.name}", base) for alias in node.names)

    def _base_of(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        is_package = self.path.name == "__init__.py"
        parts = [*self.name.split("."), ""] if is_package else self.name.split(".")
        package = parts[: -node.level]
        return ".".join([*package, *([node.module] if node.module else [])])


def modules_below(*folders: str) -> list[Module]:
    """All modules of these folders of the repository; a package's `__init__` is none."""
    return [module for module in _files_below(folders) if module.path.name != "__init__.py"]


def packages_below(*folders: str) -> list[Module]:
    """Their `__init__` files, named as the package."""
    return [
        Module(module.name.removesuffix(".__init__"), module.path)
        for module in _files_below(folders)
        if module.path.name == "__init__.py"
    ]


def _files_below(folders: Sequence[str]) -> Iterator[Module]:
    for folder in folders:
        base = REPOSITORY / ROOTS.get(folder, ".")
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield Module(".".join(path.relative_to(base).with_suffix("").parts), path)


@dataclass(frozen=True)
class Measure:
    """One line of the table: what was counted, what it may be, and where it is worst."""

    what: str
    value: float
    bound: float | None = None
    is_minimum: bool = False
    where: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        if self.bound is None:
            return True
        return self.value >= self.bound if self.is_minimum else self.value <= self.bound


@dataclass(frozen=True)
class House:
    """Sources that are counted together. `users` import them and are not counted."""

    name: str
    folders: tuple[str, ...]
    users: tuple[str, ...] = ()
    most_modules: int | None = None
    """For each `LINES_OF_THE_BOUND` lines: what grows may have more rooms, of the same size."""

    @cached_property
    def modules(self) -> list[Module]:
        return modules_below(*self.folders)

    @cached_property
    def imports(self) -> Mapping[str, frozenset[str]]:
        """Module to the modules of this house that it imports, also by way of a package that offers their names."""
        homes = {module.name: module.name for module in self.modules}
        for package in packages_below(*self.folders):
            homes |= {name: module for name, module in package.reexports() if module in homes}
        everyone = [*self.modules, *modules_below(*self.users)]
        return {
            module.name: frozenset(homes[name] for name in module.imported_names() if name in homes) - {module.name}
            for module in everyone
        }

    @cached_property
    def importers(self) -> Mapping[str, frozenset[str]]:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for importer, imported in self.imports.items():
            for name in imported:
                found[name].add(importer)
        return {name: frozenset(importers) for name, importers in found.items()}

    def measures(self) -> list[Measure]:
        return [*self._sizes(), *self._shapes(), *self._functions()]

    def _sizes(self) -> list[Measure]:
        lines = [module.lines for module in self.modules]
        short = [m for m in self.modules if m.lines < SHORT_LINES and not m.is_entry_point]
        longest = max(self.modules, key=lambda module: module.lines)
        return [
            Measure(
                f"modules for {LINES_OF_THE_BOUND:,} lines",
                round(len(self.modules) * LINES_OF_THE_BOUND / sum(lines), 1),
                self.most_modules,
            ),
            Measure("median lines of a module", statistics.median(lines), 110, is_minimum=True),
            Measure("longest module", longest.lines, 450, where=[longest.shown_path]),
            Measure(
                f"% of modules under {SHORT_LINES} lines",
                self._percent(short),
                12,
                where=[f"{module.shown_path} {module.lines}" for module in short],
            ),
        ]

    def _shapes(self) -> list[Measure]:
        single = [m for m in self.modules if len(self.importers.get(m.name, ())) == 1]
        folders = Counter(str(module.path.parent.relative_to(REPOSITORY)) for module in self.modules)
        fullest, size = folders.most_common(1)[0]
        circles = self.circles()
        return [
            Measure(
                "% of modules with one importer",
                self._percent(single),
                15,
                where=[module.shown_path for module in single],
            ),
            Measure("modules in the fullest folder", size, 14, where=[fullest]),
            Measure("import circles", len(circles), 0, where=[" ".join(circle) for circle in circles]),
        ]

    def _functions(self) -> list[Measure]:
        functions = [function for module in self.modules for function in module.functions()]
        longest, lines = max(functions, key=lambda function: function[1])
        median = statistics.median(length for _, length in functions)
        return [
            Measure("longest function", lines, 60, where=[longest]),
            Measure("median lines of a function", median, 12),
        ]

    def _percent(self, some: Sequence[Module]) -> float:
        return round(100 * len(some) / len(self.modules), 1)

    def circles(self) -> list[list[str]]:
        """Modules that import each other, by way of others or not."""
        reachable = {module.name: self._reachable(module.name) for module in self.modules}
        seen: set[str] = set()
        found = []
        for name, others in reachable.items():
            circle = sorted(other for other in others if name in reachable[other])
            if name in others and name not in seen:
                seen.update(circle)
                found.append(circle)
        return found

    def _reachable(self, start: str) -> set[str]:
        found: set[str] = set()
        waiting = set(self.imports[start])
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting |= self.imports[name] - found
        return found


HOUSES = (
    House("operator and trainer", ("operator", "trainer"), users=("devcluster",), most_modules=190),
    House("devcluster", ("devcluster",), users=("tests", "examples", "benchmarks")),
)


def main() -> int:
    console = Console(highlight=False)
    table = Table("", *(house.name for house in HOUSES), "bound")
    rows = list(zip(*(house.measures() for house in HOUSES), strict=True))
    for row in rows:
        table.add_row(row[0].what, *map(_shown, row), _bound(row[0]))
    console.print(table)
    broken = [(house, measure) for row in rows for house, measure in zip(HOUSES, row, strict=True) if not measure.holds]
    for house, measure in broken:
        console.print(f"\n{house.name}: {measure.what}: {measure.value:g}", *measure.where, sep="\n  ", soft_wrap=True)
    return 1 if broken else 0


def _shown(measure: Measure) -> str:
    return f"{measure.value:g}" if measure.holds else f"[red]{measure.value:g}"


def _bound(measure: Measure) -> str:
    if measure.bound is None:
        return ""
    return f"{'at least' if measure.is_minimum else 'at most'} {measure.bound:g}"


if __name__ == "__main__":
    sys.exit(main())
