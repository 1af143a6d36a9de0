"""Ceilings of a study's own, read for every subject and ROI and held to what the parameters say they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.measured.datasets import CeilingData, StudyData, blocks_of
from cinevox.measured.responses import Part
from cinevox.project.params import Ceiling, Dataset, ImportedCeiling, Track

SPLITS: dict[Part, str] = {"train": "validation", "test": "test"}  # responses -> the split that has their ceilings
MOST = 4  # faults in one message
LEAST_PERCENT = 3  # the best voxel has more, and no ratio or share has


def of_split(settings: Ceiling, split: str) -> ImportedCeiling | None:
    """The study's own ceilings that params.ceiling asks for, of a split; None where it asks for none."""
    return next((own for name, own in (settings.imported or {}).items() if name == split), None)


def read_block(dataset: StudyData, track: Track, subject: str, roi: str, asked: ImportedCeiling) -> NDArray[np.float64]:
    """The study's ceiling of each voxel, (n_voxels,), NaN where it has none.

    Raises
    ------
    InputError
        The study has no such ceilings, or they can't be what `holds` says.
    """
    if not isinstance(dataset, CeilingData):
        raise InputError(
            f"params.yaml: ceiling.imported is the column {asked.column}, and studies in this format (dataset.name) "
            "have no ceilings of their own; set ceiling.imported to null and ceiling.method to split_half, ncsnr, "
            "analytic or schoppe"
        )
    known = dataset.ceilings(track, subject, roi)
    if asked.column not in known:
        raise InputError(f"{subject} {roi}: no column ceiling:{asked.column}; there are {', '.join(known) or 'none'}")
    values = np.asarray(known[asked.column], dtype=np.float64)
    given = values[~np.isnan(values)]
    low, high = (given.min(), given.max()) if given.size else (0.0, 0.0)
    if low < 0 or high > asked.most:
        expected = f"0 to {asked.most:g}" if np.isfinite(asked.most) else "0 or more"
        raise InputError(
            f"{subject} {roi}: values from {low:g} to {high:g}, expected {expected}, as they should be {asked.holds}"
        )
    return values


def read(
    dataset: StudyData, wanted: Dataset, part: Part, asked: ImportedCeiling
) -> dict[tuple[Track, str, str], NDArray[np.float64]]:
    """(track, subject, ROI) -> its ceilings, as `read_block`, of every block with such responses.

    Raises
    ------
    InputError
        As `read_block`, of all blocks together; or no voxel has a value that it could have.
    """
    found: dict[tuple[Track, str, str], NDArray[np.float64]] = {}
    faults = []
    for track in wanted.tracks:
        shown = part == "train" or dataset.has_test_responses(track)
        for subject, roi in blocks_of(dataset, wanted, track) if shown else ():
            try:
                found[track, subject, roi] = read_block(dataset, track, subject, roi, asked)
            except InputError as error:
                if not isinstance(dataset, CeilingData):
                    raise
                faults.append(str(error))
    largest = max((float(np.nan_to_num(values).max(initial=0.0)) for values in found.values()), default=0.0)
    if asked.holds.startswith("nc_") and 0 < largest <= LEAST_PERCENT:
        faults.append(f"the largest of all values is {largest:g}, expected percent, as they should be {asked.holds}")
    if found and largest == 0:
        faults.append("no voxel has a value above 0")
    place = f"params.yaml: ceiling.imported.{SPLITS[part]}"
    if faults:
        told = "; ".join(faults[:MOST]) + (f"; and {len(faults) - MOST} more" if len(faults) > MOST else "")
        raise InputError(
            f"{place}: column {asked.column}: {told}\n  Correct `holds` (ncsnr, nc_trial or nc_mean in "
            "percent, reliability from 0 to 1; docs/ceilings.md), or name another column"
        )
    if not found:
        raise InputError(f"{place} is the column {asked.column}, and there are no {part} responses; leave it out")
    return found


def require(dataset: StudyData, wanted: Dataset, settings: Ceiling) -> None:
    """Refuse ceilings that `read` refuses, before any long work."""
    for part, split in SPLITS.items():
        if (asked := of_split(settings, split)) is not None:
            read(dataset, wanted, part, asked)
