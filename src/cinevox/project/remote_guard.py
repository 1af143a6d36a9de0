"""The guard: data that may not be passed on leave for the DVC remote named `private`, and for no other.

DVC has no hook for `dvc push`, and refuses a mark of our own in a remote's configuration. What holds is the field
`remote` of an output: it goes before `dvc push --remote` and the default remote, so an output bound to `private` is
pushed there or, where no remote has that name, not at all. The name is the mark. In dvc.yaml the field is
`storage.remote`; here the .dvc files are looked after.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cinevox.errors import FileError, InputError
from cinevox.files import io
from cinevox.project import git, plugins
from cinevox.project.params import Params
from cinevox.project.paths import Paths

PRIVATE = "private"
HOOK = """#!/bin/sh
# Made by `cinevox guard --hook`: what git pushes, DVC pushes too, unless the guard refuses.
cinevox guard && exec dvc git-hook pre-push "$@"
"""


def faults(paths: Paths, params: Params) -> list[str]:
    """Everything that would let restricted data go elsewhere, a sentence each.

    params: has the sections dataset and storage
    """
    spec = plugins.load("datasets", params.dataset.name).at(paths.root / params.dataset.folder)
    found = []
    if spec.restricted and params.storage.remote != PRIVATE:
        found.append(
            f"storage.remote is {params.storage.remote!r}, and {spec.title} may not be passed on "
            f"({spec.licence}); set it to {PRIVATE}"
        )
    return found + [
        f"{path}: `dvc push` would take {out.get('path')} to any remote; `cinevox guard --fix` binds it to {PRIVATE}"
        for path, _, outs in _loose(paths, params)
        for out in outs
    ]


def remote_faults(remotes: Mapping[str, str]) -> list[str]:
    """Remotes under another name at the place of the private one. remotes: name -> address."""
    place = remotes.get(PRIVATE)
    return [
        f"the remotes {PRIVATE} and {name} are one place ({url}): what is private there?"
        for name, url in remotes.items()
        if name != PRIVATE and url == place
    ]


def require(paths: Paths, params: Params) -> None:
    """Stop if restricted data could be pushed elsewhere.

    Raises
    ------
    InputError
        The message has every fault and its cure.
    """
    if found := faults(paths, params):
        raise InputError("\n  ".join(["restricted data could leave this machine", *found]))


def bind(paths: Paths, params: Params) -> list[str]:
    """Bind every .dvc file that is not free to the private remote; which ones were changed."""
    changed = []
    for path, content, outs in _loose(paths, params):
        for out in outs:
            out["remote"] = PRIVATE
        io.write_bytes(path, yaml.safe_dump(content, sort_keys=False).encode())
        changed.append(str(path))
    return changed


def remotes(root: Path) -> dict[str, str]:
    """DVC's remotes, name -> address; none outside a DVC repository."""
    wide = os.environ | {"COLUMNS": "10000"}  # or long addresses go to a line of their own
    command = ["dvc", "remote", "list"]
    said = subprocess.run(command, cwd=root, env=wide, capture_output=True, text=True, check=False).stdout
    lines = [line.replace("(default)", "").split(maxsplit=1) for line in said.splitlines()]
    return {words[0]: words[1].strip() for words in lines if len(words) == 2}


def install_hook(root: Path) -> Path:
    """Make git's pre-push hook call the guard before DVC.

    Raises
    ------
    InputError
        There is another hook, no repository, or no git.
    """
    if why := git.fault(root):
        raise InputError(f"{root.resolve()}: no hook to install: {why}")
    path = root / git.answer(root, "rev-parse", "--git-path", "hooks/pre-push").strip()
    if path.exists() and path.read_text() != HOOK:
        raise InputError(f"{path}: there is another hook; add `cinevox guard || exit 1` to it")
    io.write_bytes(path, HOOK.encode())
    path.chmod(0o755)
    return path


def _loose(paths: Paths, params: Params) -> Iterator[tuple[Path, Any, list[dict[str, Any]]]]:
    """Each .dvc file that is neither bound nor free, its content, and the outputs that any remote would be given."""
    folder = paths.root / params.dataset.folder
    free = None if plugins.load("datasets", params.dataset.name).at(folder).restricted else folder
    for path in _files(paths, folder):
        content = _content(path)
        outs = [out for out in content["outs"] if not _is_bound(out) and not _is_part(path, out, free)]
        if outs and not _is_of_another_repository(content):
            yield path, content, outs


def _files(paths: Paths, folder: Path) -> list[Path]:
    """The .dvc files in the root, everywhere in data/, and in and above the data set's folder if the root has it."""
    root, data, place = (each.resolve() for each in (paths.root, paths.data, folder))
    whole, alone = [paths.data], [paths.root]
    if place.is_relative_to(root):
        alone += [parent for parent in folder.parents if parent.resolve().is_relative_to(root)]
        whole += [] if place.is_relative_to(data) else [folder]
    found = [path for parent in alone for path in parent.glob("*.dvc")]
    for top in whole:
        found += [Path(inside, name) for inside, _, names in os.walk(top) for name in names if name.endswith(".dvc")]
    return sorted({path.resolve(): path for path in found if path.is_file()}.values())


def _content(path: Path) -> Any:
    try:
        content = yaml.safe_load(path.read_text())
        [out.get("path") for out in content["outs"]]
        _is_of_another_repository(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path}: no .dvc file of outputs ({type(error).__name__}); make it again: dvc add") from None
    return content


def _is_bound(out: Mapping[str, Any]) -> bool:
    return out.get("remote") == PRIVATE or out.get("push") is False


def _is_of_another_repository(content: Mapping[str, Any]) -> bool:
    """Made by `dvc import`: DVC never pushes it. What `dvc import-url` made is pushed like any other output."""
    return any("repo" in dep for dep in content.get("deps", ()))


def _is_part(path: Path, out: Mapping[str, Any], folder: Path | None) -> bool:
    return folder is not None and (path.parent / str(out.get("path"))).resolve().is_relative_to(folder.resolve())
