"""The paper's run or the winners' in small: their rows and networks on little in-silico data: all of it runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cinevox.errors import InputError
from cinevox.project import plugins
from cinevox.project.params import Network, load, text
from cinevox.project.paths import Paths

# What differs from the parameters of the large run, besides the data set and the weights. Nothing here is a result.
SMALLER: dict[str, dict[str, Any]] = {
    "frames": {"counts": [2, 8], "size": 96},  # of frames: of image networks, of others
    "reduction": {"n_components": 20},
    "transfer": {"n_epochs": 2, "rois_at_once": 9},
    "scores": {"n_bootstraps": 100},
}
SIMULATED = {
    "n_subjects": 2, "n_train": 60, "n_test": 24, "voxel_fraction": 0.02, "min_voxels": 6, "n_frames": 2,
}  # fmt: skip
OTHERS = ("r3d_18",)  # networks that the paper has none of
FEWEST = {"motion_energy": 27}  # of frames: what shows its fastest filters
AS_BY_DEFAULT = ("dataset", "regressors", "heads", "storage")  # sections of the small default run
MARK = ".cinevox-smoke"  # a file in each folder that was made here: those are replaced, and no others


def parameters(large: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a large run with its rows, networks, spaces and bases, all else small and offline.

    Frames stay as large as they are where there are named spaces, whose fields are positions in a map, and models of
    libraries, which may take one size alone.

    large, default: params.paper.yaml or params.winners.yaml, and params.yaml, parsed and checked

    Raises
    ------
    InputError
        Features were brought, or a layer is named that a model does not have without the files of its weights.
    """
    found = {section: dict(values) for section, values in large.items()}
    found |= {section: {**large[section], **default[section]} for section in AS_BY_DEFAULT}
    found["dataset"]["subjects"] = found["dataset"]["subjects"][: SIMULATED["n_subjects"]]
    found["report"]["subject"] = found["dataset"]["subjects"][-1]
    found["simulation"] = {**default["simulation"], **SIMULATED, "datasets": [found["dataset"]["name"]]}
    for section, changes in SMALLER.items():
        found[section] |= changes
    models = {name: entry["model"] for name, entry in large["networks"].items() if entry.get("model")}
    if large["spaces"] or models:
        found["frames"]["size"] = large["frames"]["size"]
    untrained = {"weights": "random", "file": None, "sha256": None, "seed": 0}
    fewest, clip = found["frames"]["counts"]
    entries = {
        name: {**untrained, **({"model": models[name]} if name in models else {})}
        for name in dict.fromkeys((*large["networks"], *OTHERS))
    }
    specs = _specs(entries, large["spaces"])
    counts = {
        name: FEWEST.get(name, fewest if spec.n_frames is None else spec.n_frames if name in models else clip)
        for name, spec in specs.items()
    }
    found["networks"] = {
        name: {**entry, "weights": "none" if specs[name].is_fixed else "random", "n_frames": counts[name]}
        for name, entry in entries.items()
    }
    found["frames"]["counts"] = sorted({fewest, clip, *counts.values()})
    found["bases"] = {name: {**base, "n_frames": 2} for name, base in large["bases"].items()}
    return found


def _specs(entries: Mapping[str, Mapping[str, Any]], spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The specs of the networks. spaces: params.spaces, whose layers must be there with random weights, too"""
    if brought := [name for name, entry in entries.items() if entry.get("model") == "array"]:
        raise InputError(
            f"networks.{', networks.'.join(brought)}: features that were brought are of a study's own clips, and "
            "simulated clips have none; take them, their spaces and the rows on them out of a copy of the parameters, "
            "and name that with --params"
        )
    specs = {name: plugins.network_of(name, Network(**entry, n_frames=1)) for name, entry in entries.items()}
    for name, space in spaces.items():
        network, asked = space["network"], space["layer"]
        model, layers = entries[network].get("model", ""), specs[network].layers
        hidden = (layer for layer in ([asked] if isinstance(asked, str) else asked) if layer.startswith("hidden."))
        missing = [layer for layer in hidden if layer not in layers]
        if model.startswith("transformers/") and missing:
            raise InputError(
                f"spaces.{name}: {network} has random weights here, and then the default configuration of its class, "
                f"without {', '.join(missing)} ({layers[0]} to {layers[-1]}); name a layer of these in a copy of the "
                "parameters, and name that with --params"
            )
    return specs


def make(folder: Path, root: Path = Path(), large: str = "params.paper.yaml") -> None:
    """A copy of the flow in a folder of its own, with these parameters, in place of an earlier one.

    large: the file of the parameters of the large run

    Raises
    ------
    InputError
        The folder has the repository in it, or something that was not made here; or as `parameters`, or `load`.
    """
    _require_replaceable(folder, root)
    paths = Paths(root)
    for path in (root / large, paths.params):
        load(path)
    smaller = parameters(*map(text.read_file, (root / large, paths.params)))
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
    (folder / "params.yaml").write_text(yaml.safe_dump(smaller, sort_keys=False))


def _require_replaceable(folder: Path, root: Path) -> None:
    cure = "name a new folder, such as tmp/paper-smoke"
    if root.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder}: this repository lies there, and the folder would be replaced; {cure}")
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / MARK).is_file()):
        return
    if folder.exists():
        raise InputError(f"{folder}: not made by `cinevox smoke` (no {MARK} in it); remove it yourself, or {cure}")
