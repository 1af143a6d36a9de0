"""Versions of Python and of the packages that compute: recorded with every result, compared with those of now.

A folder of results has a `versions.json`: stage@instance -> package -> version, of the stage that wrote the folder and
of those before it.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from cinevox.errors import FileError, InputError
from cinevox.files import io

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "torchvision", "timm", "pymoten", "numba", "av")
OPTIONAL = ("transformers",)  # an extra: recorded where it is installed
FILE = "versions.json"

Versions = Mapping[str, str]


def installed() -> dict[str, str]:
    """Python and every package -> its version, without importing any."""
    found = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    for name in OPTIONAL:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise InputError(f"{name} is not installed; `make install` installs what requirements.lock has") from None


def read(folder: Path) -> dict[str, Versions]:
    """Read what made a folder of results; nothing where it has no record. Errors: FileError, where it is broken."""
    file = folder / FILE
    found: dict[str, Versions] = io.read_json(file) if file.is_file() else {}
    made = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(by, dict) and all(isinstance(version, str) for version in by.values()) for by in made):
        raise FileError(f"{file}: expected stage -> package -> version; delete it and run `dvc repro`")
    return found


def record(folder: Path, stage: str, sources: Iterable[Path]) -> None:
    """Write down what made a folder of results.

    stage: stage@instance that made it, now; sources: folders of results that it was made from
    """
    made = {name: versions for source in sources for name, versions in read(source).items()}
    io.write_json(folder / FILE, dict(sorted((made | {stage: installed()}).items())))


def in_words(made: Mapping[str, Versions]) -> str:
    """Every version that made a result: `numpy 2.4.6, python 3.11.7`; sorted, empty without a record."""
    return ", ".join(sorted({f"{name} {version}" for by in made.values() for name, version in by.items()}))


def others(made: Mapping[str, Versions], now: Versions) -> tuple[str, ...]:
    """Versions that made a result and are not those of `now`, in words: `numpy 2.4.5 (now 2.4.6)`; sorted."""
    differ = {(name, version) for by in made.values() for name, version in by.items() if now.get(name) != version}
    return tuple(f"{name} {version} (now {now.get(name, 'none')})" for name, version in sorted(differ))


def made_by_others(results: Mapping[str, Path], now: Versions) -> dict[str, tuple[str, ...]]:
    """Versions in words -> names of the results that they made, where they are not all those of `now`.

    results: name -> folder
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, folder in results.items():
        if told := ", ".join(others(read(folder), now)):
            found[told] = (*found.get(told, ()), name)
    return found
