"""The project's own source code as a dependency: what a script can import, and a hash of what it says.

A stage's result follows from its script and from every module that the script can reach: through imports at the top
of a module or inside a function, through the package faces (`__init__.py`) on the way, and through the plug-ins that
the instance loads by name (`instances`). A module's hash is of its syntax without comments, docstrings and layout, so
it changes where the program does. Files of a package that are no Python (templates, expectations) belong to its face.

One pass over a module's syntax gives its hash and its imports. Both are the same for Python 3.11 to 3.13.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cinevox.errors import InputError
from cinevox.files import io

PACKAGE, STAGES = "cinevox", "stages"
N_DIGITS = 16  # of a hash: 64 bits, for a few hundred modules


@dataclass(frozen=True)
class Module:
    """A Python file. imports: (module, name in it or "") as written, relative ones resolved; digest: of its syntax."""

    digest: str
    imports: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SourceCode:
    """The modules of a repository: `cinevox....` from src, and `stages.<script>`.

    files: module -> its file; memo: SHA-256 of a module's package and text -> the Module that it parses to, from an
        earlier run, so that only edited files are parsed
    """

    files: Mapping[str, Path]
    memo: Mapping[str, Module]

    @classmethod
    def of(cls, root: Path, memo: Mapping[str, Module] | None = None) -> SourceCode:
        """The modules of the repository at `root`; of a study repository, which has no package, the installed one."""
        files = {}
        source = root / "src"
        if not (source / PACKAGE).is_dir():
            source = Path(__file__).resolve().parents[2]
        for base, folder in ((source, source / PACKAGE), (root, root / STAGES)):
            for path in _python_files(folder):
                parts = path.relative_to(base).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                if name not in files or parts[-1] == "__init__":  # Python prefers a package to a module of its name
                    files[name] = path
        return cls(files, memo or {})

    @cached_property
    def _modules(self) -> dict[str, Module]:
        return {}

    @cached_property
    def used(self) -> dict[str, Module]:
        """The memo for the next run, of what was reached until now."""
        return {}

    def plugins(self, package: str) -> tuple[str, ...]:
        """All plug-ins of a package of them, such as `cinevox.stimuli.networks`, as modules."""
        prefix = f"{package}."
        names = (name.removeprefix(prefix) for name in self.files if name.startswith(prefix))
        return tuple(sorted(prefix + name for name in names if "." not in name and not name.startswith("_")))

    def reached(self, modules: Iterable[str]) -> dict[str, str]:
        """Every module that these can load -> its hash, sorted; names that are no module are left out."""
        found: dict[str, str] = {}
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.files:
                continue
            module = self._module(name)
            found[name] = module.digest
            words = name.split(".")  # a module's packages are loaded before it, also those above a folder that is none
            waiting += (".".join(words[:n]) for n in range(1, len(words)))
            waiting += (target for pair in module.imports for target in _targets(name, *pair))
            stars = {package for package, member in module.imports if member == "*"}  # __all__ can name sub-modules
            waiting += (other for other in self.files if other.rpartition(".")[0] in stars)
        return dict(sorted(found.items()))

    def _module(self, name: str) -> Module:
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> Module:
        path = self.files[name]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror}); mend that or take it away") from None
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        key = hashlib.sha256(f"{package}\n".encode() + content).hexdigest()
        module = self.used[key] = self.memo.get(key) or parse(content, package, path)
        if path.name == "__init__.py" and (beside := list(_beside(path.parent))):
            digest = hashlib.sha256(module.digest.encode())
            for file in beside:
                line = f"{file.relative_to(path.parent).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n"
                digest.update(line.encode())
            return Module(digest.hexdigest()[:N_DIGITS], module.imports)
        return module


def _python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files under a folder, also through links to folders, which Python follows, too."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        above = Path(parent).resolve()
        circles = {name for name in links if above.is_relative_to((Path(parent) / name).resolve())}
        folders[:] = [name for name in folders if name not in circles]
        yield from (Path(parent, name) for name in names if name.endswith(".py"))


def _targets(name: str, module: str, member: str) -> Iterator[str]:
    """Name all that an import can load: a module and, where it is one, the member of it."""
    for base in (module, f"{STAGES}.{module}") if name.startswith(f"{STAGES}.") else (module,):
        yield base
        if member:
            yield f"{base}.{member}"


def _beside(folder: Path) -> Iterator[Path]:
    """Files of a package that are no modules, sorted, without those of its sub-packages and what editors leave."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "#", "__pycache__")) or path.name.endswith(
            ("~", ".pyc", ".orig", ".rej", ".bak")
        ):
            continue
        if path.is_dir() and not (path / "__init__.py").exists():
            yield from _beside(path)
        elif path.is_file() and path.suffix != ".py":
            yield path


def parse(content: bytes, package: str, path: Path) -> Module:
    """The hash and the imports of a module's text. package: the one that its relative imports start from

    Raises
    ------
    InputError
        The text is no Python.
    """
    try:
        with _without_collector():
            tree = ast.parse(content)
            imports: dict[tuple[str, str], None] = {}
            said: list[str] = []
            _say(tree, said.append, lambda node: imports.update(dict.fromkeys(_imports(node, package))))
    except (SyntaxError, ValueError, RecursionError) as error:  # ValueError: null bytes
        line = getattr(error, "lineno", None)
        raise InputError(f"{path}{f', line {line}' if line else ''}: no Python: {error}") from None
    return Module(hashlib.sha256("\n".join(said).encode()).hexdigest()[:N_DIGITS], tuple(imports))


class _without_collector:
    """Parsing makes many objects and no cycles: the collector would take half of the time."""

    def __enter__(self) -> None:
        self.was = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self.was:
            gc.enable()


def _say(node: ast.AST, put: Callable[[str], None], found: Callable[[ast.AST], None]) -> None:
    """Write a node down: its type, its fields that hold something; strings that stand alone (docstrings) are none."""
    kind = type(node)
    if kind is ast.Constant:  # not by repr: what it shows of a text as it is depends on Python's Unicode tables
        put(f"{type(node.value).__name__} {node.value!a}")  # type: ignore[attr-defined]
        return
    if kind is ast.Import or kind is ast.ImportFrom:
        found(node)
    put(kind.__name__)
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None or value == [] or field in ("type_comment", "kind"):
            continue
        put(field)
        if type(value) is list:
            for item in value:
                if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
                    continue
                _say(item, put, found) if isinstance(item, ast.AST) else put(ascii(item))
        elif isinstance(value, ast.AST):
            _say(value, put, found)
        else:
            put(ascii(value))
    put(")")


def _imports(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: -(node.level - 1) or None] if node.level else []
        module = ".".join([*parents, *([node.module] if node.module else [])])
        yield from ((module, alias.name) for alias in node.names)


def remembered(path: Path) -> dict[str, Module]:
    """The memo of an earlier run; empty where there is none of this version of this module."""
    try:
        content = json.loads(path.read_bytes())
        modules = content["modules"] if content["by"] == _own_version() else {}
        return {
            key: Module(digest, tuple((module, member) for module, member in imports))
            for key, (digest, imports) in modules.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def remember(path: Path, memo: Mapping[str, Module]) -> None:
    """Keep the memo for the next run."""
    modules = {key: [module.digest, module.imports] for key, module in memo.items()}
    io.write_bytes(path, json.dumps({"by": _own_version(), "modules": modules}).encode())


def _own_version() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
