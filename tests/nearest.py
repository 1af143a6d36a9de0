"""Tests that reach what was edited, the nearest first: python tests/nearest.py [REVISION, default HEAD].

A test file is as far from a module as there are imports between them, in the graph that the import contracts are
checked with. What no test imports (a stage, a plug-in, a style of the report, a document) is reached by those that name
it. pytest-picked would run tests that were edited themselves, and no others; pytest-testmon keeps a database, which the
whole suite has to fill first, and sees nothing of what a stage does in a process of its own.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
MOST = 12  # files; collecting more would take the time that their tests need


def edited(since: str) -> list[str]:
    """Files that differ from a revision, or are not in git yet."""
    asked = (["diff", "--name-only", since, "--"], ["ls-files", "--others", "--exclude-standard"])
    return sorted(
        {
            line
            for words in asked
            for line in subprocess.run(
                ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.splitlines()
        }
    )


def module(path: Path) -> str:
    """The name under which a file is imported; tests and stages lie on the path themselves."""
    if path.parts[0] != "src":
        return path.stem
    parts = path.relative_to("src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def graph() -> dict[str, set[str]]:
    """Module -> modules and test files that import it, directly; who imports a module imports its package, too."""
    package = grimp.build_graph("cinevox")
    imports = {
        name: package.find_modules_directly_imported_by(name) | {name.rpartition(".")[0]} for name in package.modules
    }
    imports |= {path.stem: set(_imports(path)) for path in (ROOT / "tests").glob("*.py")}
    importers: dict[str, set[str]] = {}
    for name, imported in imports.items():
        for other in imported:
            importers.setdefault(other, set()).add(name)
    return importers


@cache
def _words() -> dict[str, set[str]]:
    """Test file -> the words in it: names, and names with an ending."""
    return {
        path.stem: set(re.findall(r"\w+(?:\.\w+)?", text)) | set(re.findall(r"\w+", text))
        for path in (ROOT / "tests").glob("test_*.py")
        for text in [path.read_text()]
    }


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def distances(importers: Mapping[str, Iterable[str]], start: str) -> dict[str, int]:
    """Everything that imports `start`, directly or not -> how many imports lie between."""
    found, ring = {start: 0}, {start}
    while ring:
        ring = {name for other in ring for name in importers.get(other, ())} - found.keys()
        found |= dict.fromkeys(ring, max(found.values()) + 1)
    return found


def nearest(names: Iterable[str]) -> list[str]:
    """The test files that reach these files, the nearest first; among equals those first that are called like them."""
    tests = _words()
    ranks: dict[str, tuple[int, bool]] = {}
    for path in map(Path, names):
        own = module(path if path.suffix == ".py" else path.parent / "__init__.py")
        reached = distances(graph(), own)
        far = {name: n for name, n in reached.items() if name in tests}
        named = {path.name: 0} if path.suffix != ".py" else {} if far else reached
        for word, n in named.items():
            last = word.rpartition(".")[2].strip("_") if path.suffix == ".py" else word
            far = {name: n + 1 for name, words in tests.items() if last in words} | far
        called = {*own.split("."), path.stem.strip("_")}
        for name, n in far.items():
            like = called.isdisjoint({name.removeprefix("test_"), *name.split("_")})
            ranks[name] = min(ranks.get(name, (n, like)), (n, like))
    return [f"tests/{name}.py" for name in sorted(ranks, key=lambda name: (ranks[name], name))]


if __name__ == "__main__":
    found = nearest(edited(*sys.argv[1:] or ["HEAD"]))
    sys.stdout.writelines(f"{name}\n" for name in found[:MOST])
    sys.stderr.write(f"{len(found)} test files reach what was edited, and {max(len(found) - MOST, 0)} are left out\n")
