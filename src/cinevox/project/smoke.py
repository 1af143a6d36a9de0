"""The paper's run in small: its rows and networks, and a video network, on little in-silico data: all of it runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cinevox.errors import InputError
from cinevox.project import plugins
from cinevox.project.params import text
from cinevox.project.paths import Paths

# What differs from the paper's parameters, besides the data set and the weights. Nothing here is a result.
SMALLER: dict[str, dict[str, Any]] = {
    "frames": {"counts": [2, 8], "size": 96},
    "reduction": {"n_components": 20},
    "transfer": {"n_epochs": 2, "rois_at_once": 9},
    "scores": {"n_bootstraps": 100},
}
SIMULATED = {
    "n_subjects": 2, "n_train": 60, "n_test": 24, "voxel_fraction": 0.02, "min_voxels": 6, "n_frames": 2,
}  # fmt: skip
OTHERS = ("r3d_18",)  # networks that the paper has none of
AS_BY_DEFAULT = ("dataset", "regressors", "heads", "storage")  # sections of the small default run
MARK = ".cinevox-smoke"  # a file in each folder that was made here: those are replaced, and no others


def parameters(paper: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's parameters with its rows, networks and bases, all else small and offline.

    paper, default: params.paper.yaml and params.yaml, parsed
    """
    found = {section: dict(values) for section, values in paper.items()}
    found |= {section: dict(default[section]) for section in AS_BY_DEFAULT}
    found["dataset"]["subjects"] = found["dataset"]["subjects"][: SIMULATED["n_subjects"]]
    found["report"]["subject"] = found["dataset"]["subjects"][-1]
    found["simulation"] = {**default["simulation"], **SIMULATED, "datasets": [found["dataset"]["name"]]}
    for section, changes in SMALLER.items():
        found[section] |= changes
    untrained = {"weights": "random", "file": None, "sha256": None, "seed": 0}
    fewest, clip = found["frames"]["counts"]
    specs = {name: plugins.load("networks", name) for name in (*paper["networks"], *OTHERS)}
    found["networks"] = {
        name: {**untrained, "n_frames": fewest if spec.n_frames is None else clip} for name, spec in specs.items()
    }
    found["bases"] = {name: {**base, "n_frames": 2} for name, base in paper["bases"].items()}
    return found


def make(folder: Path, root: Path = Path()) -> None:
    """A copy of the flow in a folder of its own, with these parameters, in place of an earlier one.

    Raises
    ------
    InputError
        The folder has the repository in it, or something that was not made here.
    """
    _require_replaceable(folder, root)
    paths = Paths(root)
    paper, default = map(text.read_file, (paths.paper_params, paths.params))
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("`cinevox smoke` replaces this folder.\n")
    for name in ("stages", "src"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(root / "dvc.yaml", folder)
    shutil.copy(root / ".dvcignore", folder)
    shutil.copy(paths.paper_params, folder)
    (folder / "data").mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters(paper, default), sort_keys=False))


def _require_replaceable(folder: Path, root: Path) -> None:
    cure = "name a new folder, such as tmp/paper-smoke"
    if root.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder}: this repository lies there, and the folder would be replaced; {cure}")
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / MARK).is_file()):
        return
    if folder.exists():
        raise InputError(f"{folder}: not made by `cinevox smoke` (no {MARK} in it); remove it yourself, or {cure}")
