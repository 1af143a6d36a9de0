"""The responses of one subject in loose files: arrays of ROIs or a volume with masks, and what each trial is of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.own_study import arrays, orders
from cinevox.own_study.arrays import Betas
from cinevox.own_study.names import in_order, roi_of
from cinevox.own_study.orders import Order
from cinevox.own_study.subject_trials import BLOCK, Responses, flat
from cinevox.own_study.volumes import of_volume
from cinevox.project.params import WHOLE_BRAIN

_APART = re.compile(r"(?:^|[-_.])(train|training|test|testing)(?=$|[-_.])", re.IGNORECASE)


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
        return of_volume(name, whole, masks, ids, order, data)
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
        there |= np.concatenate([np.isfinite(rows).any(axis=-1) for rows in _blocks(flat(each))])
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


def _blocks(values: NDArray) -> Iterator[NDArray]:
    step = max(1, BLOCK // max(1, values.shape[-1]))
    return (values[start : start + step] for start in range(0, len(values), step))
