"""The responses of one subject in loose files: arrays of ROIs or a volume with masks, and what each trial is of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import FileError, InputError
from cinevox.measured.trials_table.betas import NotBetas, read_mask
from cinevox.own_study import arrays, orders
from cinevox.own_study.arrays import Betas
from cinevox.own_study.names import in_order, roi_of
from cinevox.own_study.orders import Order
from cinevox.project.params import WHOLE_BRAIN

_APART = re.compile(r"(?:^|[-_.])(train|training|test|testing)(?=$|[-_.])", re.IGNORECASE)
BLOCK = 2**26  # values of betas in memory at a time


@dataclass(frozen=True)
class Responses:
    """The trials of one subject.

    stimuli: of each trial; sizes: ROI -> number of voxels
    units: a line for each voxel, as units.tsv has it; affine, shape: of the volume, None where nothing says it
    inside: of a volume the voxels that are units; parts: of arrays the ROIs' arrays, in the order of the units
    rows: of parts with repetitions, which (stimulus, repetition) each trial is, flattened
    """

    stimuli: tuple[str, ...]
    sessions: tuple[str, ...]
    runs: tuple[str, ...] | None
    units: pd.DataFrame
    sizes: dict[str, int]
    parts: tuple[Betas, ...]
    rows: NDArray[np.intp]
    inside: NDArray[np.bool_] | None = None
    affine: NDArray[np.float64] | None = None
    sources: tuple[Path, ...] = field(default=())

    @property
    def n_units(self) -> int:
        return len(self.units)

    @property
    def n_blocks(self) -> int:
        return -(-len(self.stimuli) // self._step)

    @property
    def _step(self) -> int:
        width = int(np.prod(self.parts[0].shape[:-1])) if self.inside is not None else self.n_units
        return max(1, BLOCK // max(1, width))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the trials in order, (n_trials, n_units) each."""
        for start in range(0, len(self.stimuli), self._step):
            stop = min(start + self._step, len(self.stimuli))
            if self.inside is not None:
                yield self.parts[0].trials(start, stop)[:, self.inside].astype(np.float32)
                continue
            rows = self.rows[start:stop]
            yield np.concatenate([_flat(part)[rows] for part in self.parts], axis=1).astype(np.float32)


def of_subject(
    data: Path, name: str, files: Sequence[Path], lists: Sequence[Path], masks: Sequence[Path],
    stimuli: Sequence[str], forms: Mapping[str, str], guesses: list[str],
) -> Responses:  # fmt: skip
    """The responses of a subject. lists, masks: files that may belong to it; stimuli, forms: see `orders.resolved`

    Raises
    ------
    InputError
        It cannot be told what the arrays are of.
    """
    betas: list[Betas] = []
    texts: dict[str, Order] = {}
    for path in files:
        found, words = arrays.read(path)
        betas += found
        texts |= {f"{path.name}:{key}": Order(path, tuple(each)) for key, each in words.items()}
    if not betas:
        raise InputError(f"{name}: no array of two axes or more in {', '.join(path.name for path in files)}")
    volumes = [each for each in betas if each.volume or len(each.shape) == 4]
    if volumes and len(betas) > 1:
        told = ", ".join(str(each.path.relative_to(data)) for each in betas)
        raise InputError(f"{name}: several arrays, one of them a volume: {told}; keep one model's betas in the folder")
    if volumes:
        one = volumes[0]
        whole = one if one.volume else Betas(one.path, one.values, one.key, volume=True)
        order = _order(data, name, [whole], lists, texts)
        if order is None:
            raise InputError(
                f"{one.path.relative_to(data)}: betas of {whole.n_rows:,} trials, and nothing says which stimulus each "
                "one is of; put order.txt beside it, with the name of a stimulus for each trial, or "
                "GLMsingle's DESIGNINFO"
            )
        ids, guess = orders.resolved(order, stimuli, forms)
        guesses += [guess] if guess else []
        _same(name, whole, len(ids), order.path.name, data)
        return _of_volume(name, whole, masks, ids, order, data)
    return _of_arrays(data, name, betas, lists, texts, stimuli, forms, guesses)


def _order(
    data: Path, name: str, betas: Sequence[Betas], lists: Sequence[Path], texts: Mapping[str, Order]
) -> Order | None:
    """The list of stimuli nearest to the arrays: in their files, beside them, or in a folder above."""
    if texts:
        found = list({order.cells: order for order in texts.values()}.values())
        if len(found) > 1:
            raise InputError(f"{name}: lists of stimuli that differ: {', '.join(texts)}; keep one")
        return found[0]
    folder = betas[0].path.parent
    for above in (folder, *folder.parents):
        here = [path for path in lists if path.parent == above]
        if len(here) > 1 and len({path.stem for path in here}) > 1:
            designs = [path for path in here if path.name.startswith("DESIGNINFO")]
            named = [path for path in here if not path.name.startswith("DESIGNINFO")]
            here = named if len(named) == 1 and designs else here
        if len(here) > 1:
            told = ", ".join(str(path.relative_to(data)) for path in here)
            raise InputError(f"{name}: several lists of stimuli: {told}; keep the one that has a line for each trial")
        if here:
            return orders.read(here[0])
        if above == data:
            break
    return None


def _same(name: str, betas: Betas, n: int, what: str, data: Path) -> None:
    if betas.n_rows != n:
        raise InputError(
            f"{betas.path.relative_to(data)}{f' ({betas.key})' if betas.key else ''}: {betas.n_rows:,} "
            f"{'trials' if betas.volume else 'rows'} of shape {betas.shape}, and {what} has {n:,} stimuli for {name}; "
            "expected as many"
        )


def _of_arrays(
    data: Path, name: str, betas: Sequence[Betas], lists: Sequence[Path], texts: Mapping[str, Order],
    stimuli: Sequence[str], forms: Mapping[str, str], guesses: list[str],
) -> Responses:  # fmt: skip
    order = _order(data, name, betas, lists, texts)
    if order is None:
        if not stimuli:
            raise InputError(
                f"{name}: no images or clips, and no list of stimuli beside {betas[0].path.relative_to(data)}; put "
                "order.txt there, with the id of a stimulus for each row"
            )
        orders.by_name(stimuli)
        ids, what = list(stimuli), "the folder of stimuli"
        guess = (
            f"rows of arrays are taken to be of the stimuli in the order of their names ({ids[0]} first, {ids[-1]} "
            "last); otherwise put order.txt beside the arrays, with the name of a stimulus for each row"
        )
    else:
        (ids, guess), what = orders.resolved(order, stimuli, forms), order.path.name
    if guess and guess not in guesses:
        guesses.append(guess)
    faults: list[str] = []
    by_roi: dict[str, Betas] = {}
    for each in betas:
        roi = roi_of(each.path, each.key) or ("ROI" if len(betas) == 1 else None)
        told = f"{each.path.relative_to(data)}{f' ({each.key})' if each.key else ''}"
        if apart := _APART.search(each.path.stem):
            faults.append(
                f"{told}: by its name of {apart[1].lower()} stimuli alone; expected all stimuli of an ROI in one array "
                "(numpy.concatenate), and their files in folders called train and test"
            )
        elif roi is None:
            faults.append(f"{told}: its name says no ROI; call it <ROI>.npy")
        elif roi in by_roi:
            faults.append(f"{told}: a second array of {roi}, beside {by_roi[roi].path.relative_to(data)}; keep one")
        elif len(each.shape) > 3 or 0 in each.shape:
            faults.append(
                f"{told}: shape {each.shape}; expected (n_stimuli, n_voxels) or (n_stimuli, n_repetitions, n_voxels)"
            )
        elif each.values.dtype.kind not in "fiu":
            faults.append(f"{told}: of type {each.values.dtype}; expected numbers")
        else:
            by_roi[roi] = each
            try:
                _same(name, each, len(ids), what, data)
            except InputError as error:
                hint = "; transposed, it would fit: save array.T" if each.shape[-1] == len(ids) else ""
                faults.append(f"{error}{hint}")
    if not by_roi and not faults:
        faults.append(f"{name}: no array of responses")
    repeats = {roi: each.shape[1] if len(each.shape) == 3 else 1 for roi, each in by_roi.items()}
    if not faults and len(set(repeats.values())) > 1:
        told = ", ".join(f"{roi} {n}" for roi, n in repeats.items())
        faults.append(f"{name}: arrays with different numbers of repetitions ({told}); expected one")
    if not faults and max(repeats.values()) > 1 and len(set(ids)) < len(ids):
        faults.append(
            f"{name}: arrays have an axis of repetitions, and {what} names a stimulus twice; expected each once"
        )
    if faults:
        raise InputError("\n  ".join(faults))
    for roi, each in by_roi.items():
        if len(each.shape) == 3 and each.shape[1] > each.shape[2]:
            guesses.append(
                f"{name} {roi}: shape {each.shape} is taken as {each.shape[1]:,} repetitions of {each.shape[2]:,} "
                "voxels; the other way round, save array.transpose(0, 2, 1)"
            )
    ordered = {roi: by_roi[roi] for roi in in_order(by_roi)}
    return _stacked(name, ordered, ids, order, max(repeats.values()), guesses)


def _stacked(
    name: str, by_roi: Mapping[str, Betas], ids: Sequence[str], order: Order | None, n: int, guesses: list[str]
) -> Responses:
    there = np.zeros(len(ids) * n, dtype=bool)
    for each in by_roi.values():  # a repetition that was not measured is missing in every voxel
        there |= np.concatenate([np.isfinite(rows).any(axis=-1) for rows in _blocks(_flat(each))])
    rows = np.flatnonzero(there)
    if gone := len(there) - len(rows):
        guesses.append(f"{name}: {gone:,} repetitions are missing (not finite in any voxel), and are left out")
    units = pd.DataFrame({"kind": ["voxel"] * sum(each.shape[-1] for each in by_roi.values())})
    start, sizes = 0, {}
    for roi, each in by_roi.items():
        if roi != WHOLE_BRAIN:
            column = np.zeros(len(units), dtype=int)
            column[start : start + each.shape[-1]] = 1
            units[f"roi:{roi}"], sizes[roi] = column, each.shape[-1]
        start += each.shape[-1]

    def cells(given: tuple[str, ...] | None, other: str) -> tuple[str, ...]:
        return tuple(given[int(row) // n] for row in rows) if given is not None else (other,) * len(rows)

    if "ROI" in sizes:
        guesses.append("the array's name says no ROI, so its voxels are called ROI; call the file <ROI>.npy")
    runs = None if order is None or order.runs is None else cells(order.runs, "")
    return Responses(
        tuple(ids[int(row) // n] for row in rows), cells(order.sessions if order else None, "1"), runs, units, sizes,
        tuple(by_roi.values()), rows,
        sources=tuple(dict.fromkeys((*(each.path for each in by_roi.values()), *([order.path] if order else [])))),
    )  # fmt: skip


def _flat(betas: Betas) -> NDArray:
    values = betas.values[()] if not isinstance(betas.values, np.ndarray) else betas.values
    return np.asarray(values).reshape(-1, betas.shape[-1])


def _blocks(values: NDArray) -> Iterator[NDArray]:
    step = max(1, BLOCK // max(1, values.shape[-1]))
    return (values[start : start + step] for start in range(0, len(values), step))


def _of_volume(
    name: str, betas: Betas, masks: Sequence[Path], ids: Sequence[str], order: Order, data: Path
) -> Responses:
    grid = betas.shape[:-1]
    faults, rois, brain, affine = [], {}, None, None
    for path in masks:
        told, roi = path.relative_to(data), roi_of(path) or WHOLE_BRAIN
        try:
            mask = read_mask(path)
        except (NotBetas, FileError) as error:
            faults.append(f"{told}: {error}")
            continue
        if mask.values.shape != grid:
            faults.append(
                f"{told}: a mask of shape {mask.values.shape}, and the betas' volume has {grid}; expected one grid"
            )
        elif affine is not None and not np.allclose(affine, mask.affine, atol=1e-3):
            faults.append(f"{told}: another affine than the masks before it; expected one grid")
        else:
            affine = mask.affine
            if roi == WHOLE_BRAIN:
                brain = mask.values.astype(bool)
            else:
                rois[roi] = mask.values.astype(bool)
    if faults:
        raise InputError("\n  ".join(faults))
    inside = np.ones(grid, dtype=bool)
    if brain is not None:
        inside = brain
    elif rois:
        inside = np.logical_or.reduce(list(rois.values()))
    columns: dict[str, object] = {"kind": "voxel"}
    if len(grid) == 3 and grid[1:] != (1, 1):
        columns |= dict(zip("ijk", np.nonzero(inside)))
    units = pd.DataFrame(columns, index=range(np.count_nonzero(inside)))
    sizes = {}
    for roi in in_order(rois):
        mask_of = rois[roi]
        within = mask_of[inside].astype(int)
        if within.any():
            units[f"roi:{roi}"], sizes[roi] = within, int(within.sum())
    sessions = order.sessions or ("1",) * len(ids)
    return Responses(
        tuple(ids), sessions, order.runs, units, sizes, (betas,), np.arange(len(ids)), inside, affine,
        (betas.path, *masks, order.path),
    )  # fmt: skip


def counted(stimuli: Sequence[str]) -> list[int]:
    """The number of each trial among those of its stimulus, from 1 on."""
    seen: Counter[str] = Counter()
    numbers = []
    for key in stimuli:
        seen[key] += 1
        numbers.append(seen[key])
    return numbers
