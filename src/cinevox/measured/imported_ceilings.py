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


def of_split(settings: Ceiling, split: str) -> ImportedCeiling | None:
    """The study's own ceilings that params.ceiling asks for, of a split; None where it asks for none."""
    return next((own for name, own in (settings.imported or {}).items() if name == split), None)


def with_ceilings(dataset: StudyData, part: Part, asked: ImportedCeiling) -> CeilingData:
    """The study, which must have ceilings of its own.

    Raises
    ------
    InputError
        It has none.
    """
    if not isinstance(dataset, CeilingData):
        raise InputError(
            f"params.yaml: ceiling.imported.{SPLITS[part]} is the column {asked.column}, and studies in this format "
            "(dataset.name) have no ceilings of their own; set ceiling.imported to null and ceiling.method to "
            "split_half, ncsnr, analytic or schoppe"
        )
    return dataset


def read(
    dataset: StudyData, wanted: Dataset, part: Part, asked: ImportedCeiling
) -> dict[tuple[Track, str, str], NDArray[np.float64]]:
    """(track, subject, ROI) -> the study's ceiling of each voxel, (n_voxels,), NaN where it has none.

    Raises
    ------
    InputError
        The study has no such ceilings, or they can't be what `holds` says: every block with such.
    """
    place, own = f"params.yaml: ceiling.imported.{SPLITS[part]}", with_ceilings(dataset, part, asked)
    found: dict[tuple[Track, str, str], NDArray[np.float64]] = {}
    faults = []
    for track in wanted.tracks:
        shown = part == "train" or dataset.has_test_responses(track)
        for subject, roi in blocks_of(dataset, wanted, track) if shown else ():
            values = np.asarray(own.ceiling(part, track, subject, roi, asked.column), dtype=np.float64)
            if fault := fault_of(values, asked):
                faults.append(f"{subject} {roi}: {fault}")
            found[track, subject, roi] = values
    largest = max((float(np.nan_to_num(values).max(initial=0.0)) for values in found.values()), default=0.0)
    if asked.holds.startswith("nc_") and 0 < largest <= 1:
        faults.append(f"the largest of all values is {largest:g}, expected percent, as they should be {asked.holds}")
    if found and largest == 0:
        faults.append("no voxel has a value above 0")
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


def fault_of(values: NDArray[np.float64], asked: ImportedCeiling) -> str:
    """Say why these values can't be what `asked` says; empty if they can."""
    known = values[~np.isnan(values)]
    low, high = known.min(initial=0.0), known.max(initial=0.0)
    if low >= 0 and high <= asked.most:
        return ""
    expected = f"0 to {asked.most:g}" if np.isfinite(asked.most) else "0 or more"
    return f"values from {low:g} to {high:g}, expected {expected}, as they should be {asked.holds}"
