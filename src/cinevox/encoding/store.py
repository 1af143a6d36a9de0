"""The folder of an encoding model: encoding.json, arrays, and of transfer networks their checkpoints.

An array's file is named by what it is and by the start of its checksum, so that what several maps share (training
features, means) is there once. Nothing in the folder is a pickle but torch's checkpoints, which are read as tensors.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.encoding.about import FILE, parse
from cinevox.encoding.model import CandidateModel, EncodingModel, Roiwise, Voxelwise
from cinevox.files import io
from cinevox.fitting.feature_spaces import Candidate, Scaling
from cinevox.fitting.regressors._solvers.maps import from_arrays, to_arrays
from cinevox.stimuli.reduction import Projection

CHECKPOINTS = "networks"


def write(folder: Path, found: EncodingModel) -> None:
    """Write an encoding model into a folder, which it has for itself."""
    content: dict[str, Any] = {"about": found.about.model_dump(mode="json")}
    match found.model:
        case Voxelwise() as model:
            content["projections"] = {
                layer: _written(folder, {"mean": part.mean, "weights": part.weights})
                for layer, part in model.projections.items()
            }
            content["parts"] = [_part(folder, part) for part in model.parts]
        case Roiwise() as model:
            content["compute"] = model.compute
            content["networks"] = [file.name for file in model.files]
            target = io.folder(folder / CHECKPOINTS)
            for file in model.files:
                shutil.copyfile(file, target / file.name)
    content["voxels"] = _written(folder, found.voxels)
    io.write_json(folder / FILE, content)


def _part(folder: Path, part: CandidateModel) -> dict[str, Any]:
    maps = []
    for voxels, found in part.maps:
        kind, arrays = to_arrays(found)
        maps.append(
            {"kind": kind, **_written(folder, {"voxels": voxels.astype(np.int32)}), "arrays": _written(folder, arrays)}
        )
    scaling = None if part.scaling is None else _written(folder, vars(part.scaling))
    return {"candidate": vars(part.candidate), "scaling": scaling, "maps": maps}


def _written(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Write arrays; name -> file."""
    files = {}
    for name, array in arrays.items():
        values = np.ascontiguousarray(array)
        checksum = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
        checksum.update(values.data)
        files[name] = f"{name}-{checksum.hexdigest()[:16]}.npy"
        if not (folder / files[name]).exists():
            io.write_array(folder / files[name], values)
    return files


def read(folder: Path) -> EncodingModel:
    """Read an encoding model; arrays are memory-mapped, so that only what a prediction needs is read.

    Raises
    ------
    FileError
        The folder holds none, or a file of it is missing or is another one.
    """
    path = folder / FILE
    content = io.read_json(path)
    about = parse(content.get("about") if isinstance(content, dict) else None, path)
    try:
        if "networks" in content:
            files = tuple(folder / CHECKPOINTS / Path(name).name for name in content["networks"])
            model: Any = Roiwise(files, about.columns.blocks, content["compute"])
        else:
            model = _voxelwise(folder, content["projections"], content["parts"])
        voxels = _arrays(folder, content["voxels"])
    except (KeyError, TypeError, AttributeError) as error:
        raise io.FileError(f"{path}: broken ({error!r}); make it again: `dvc repro encoding@{about.row}`") from None
    if any(values.shape != (about.columns.n_voxels,) for values in voxels.values()):
        raise io.FileError(f"{path}: arrays of other voxels; make it again: `dvc repro encoding@{about.row}`")
    return EncodingModel(about, model, voxels)


def _voxelwise(folder: Path, projections: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Voxelwise:
    found = []
    for part in parts:
        maps = tuple(
            (_array(folder, entry["voxels"]), from_arrays(entry["kind"], _arrays(folder, entry["arrays"])))
            for entry in part["maps"]
        )
        scaling = None if part["scaling"] is None else Scaling(**_arrays(folder, part["scaling"]))
        found.append(CandidateModel(_candidate(part["candidate"]), scaling, maps))
    known = {layer: Projection(**_arrays(folder, files)) for layer, files in projections.items()}
    return Voxelwise(known, tuple(found))


def _candidate(found: Mapping[str, Any]) -> Candidate:
    names = {name: tuple(found[name]) for name in ("spaces", "standardized", "rois") if name in found}
    return Candidate(**{**found, **names})


def _arrays(folder: Path, files: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    return {name: _array(folder, file) for name, file in files.items()}


def _array(folder: Path, file: str) -> NDArray[Any]:
    return io.read_array(folder / Path(file).name)
