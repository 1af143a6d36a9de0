"""An encoding model from a row's files: its chosen spaces refitted as the submission's are, or its kept networks."""

from __future__ import annotations

from pathlib import Path

from cinevox.encoding.model import CandidateModel, Roiwise, Voxelwise
from cinevox.errors import InputError
from cinevox.fitting.feature_spaces import Scaling, bands, joined
from cinevox.fitting.refit import Refitted
from cinevox.measured.responses import Columns
from cinevox.project.params import Transfer


def voxelwise(found: Refitted) -> Voxelwise:
    """The model of a refit that was kept: for the same clips it predicts what the submission does."""
    parts = []
    for part in found.parts:
        scaling, spaces = None, [found.features[name] for name in part.candidate.spaces]
        if part.candidate.is_scaled:
            X = joined(part.candidate, spaces)
            scaling = Scaling.of(part.candidate, X, bands(part.candidate, spaces, X.shape[1]), part.train)
        parts.append(CandidateModel(part.candidate, scaling, part.maps))
    return Voxelwise(found.projections, tuple(parts))


def roiwise(row: str, folder: Path, columns: Columns, settings: Transfer) -> Roiwise:
    """The networks that the stage transfer kept. folder: of its checkpoints

    Raises
    ------
    InputError
        It did not keep every subject's and ROI's.
    """
    files = tuple(folder / f"{block.subject}-{block.roi}.pt" for block in columns.blocks)
    if missing := [file.stem for file in files if not file.is_file()]:
        raise InputError(
            f"{row}: the networks of {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''} were not kept "
            f"({len(missing)} of {len(files)}; transfer.keep_weights is {settings.keep_weights}). Set "
            f"transfer.keep_weights to all, then `dvc repro encoding@{row}` trains them again and keeps them"
        )
    return Roiwise(files, columns.blocks, settings.compute)
