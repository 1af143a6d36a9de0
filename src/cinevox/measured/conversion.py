"""Conversion: the responses' files, once, into float32 arrays that are read by the voxel.

Values pass through in blocks of voxels: however large a file is, its conversion takes the memory of some blocks.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured import imported_ceilings, insilico_truth
from cinevox.measured.datasets import StudyData, TrialData, blocks_of, is_trial_data, word_for_stimuli
from cinevox.measured.response_store import CEILING, MANIFEST, MASK, MEAN, TRIALS, Study
from cinevox.measured.responses import Part, Responses
from cinevox.measured.voxel_blocks import pieces
from cinevox.project import params as settings
from cinevox.project import plugins
from cinevox.project.params import Track
from cinevox.statistics.trials import present

Progress = Callable[[Iterable, int, str], Iterable]
Key = tuple[Track, str, str]

BLOCK = 2**26  # bytes of single trials in memory at a time, in float32; the work takes about four times that
FLOAT32 = np.dtype("<f4")


def convert(
    dataset: StudyData,
    wanted: settings.Dataset,
    part: Part,
    folder: Path,
    unfinished: Path,
    progress: Progress = lambda items, _total, _label: items,
    ceiling: settings.ImportedCeiling | None = None,
) -> None:
    """Write the responses that `wanted` asks for, of one part of the data set, into `folder`, whole or not at all.

    Work in progress lies under `unfinished`; after a kill the same call goes on with the files that are not done,
    or have changed. Without test responses the manifest of that part is empty. Numbers are rounded to the nearest
    float32, and the mean over repetitions is of those.

    progress: passes tasks through, given their number and a label
    ceiling: the study's own ceilings that are copied beside the responses

    Raises
    ------
    InputError
        Responses are not finite, or not in float32: every file with such, and how many; or the files do not agree on
        the number of clips. What was finished stays.
    FileError
        A file is missing, or is not what this data set writes.
    """
    keys: list[Key] = [
        (track, *block)
        for track in wanted.tracks
        if part == "train" or dataset.has_test_responses(track)
        for block in blocks_of(dataset, wanted, track)
    ]
    ceilings = imported_ceilings.read(dataset, wanted, part, ceiling) if ceiling is not None and keys else {}
    identity = [wanted.folder.as_posix(), part, keys, wanted.missing_repetitions]
    asked = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    partial = unfinished / f"{part}-{asked}"
    tasks = (delayed(_convert)(dataset, part, key, wanted, partial) for key in keys)
    entries = list(progress(Parallel(return_as="generator")(tasks), len(keys), f"{part} responses"))
    faults = [entry for entry in entries if isinstance(entry, str)]
    if faults:
        raise InputError(
            f"{wanted.folder}: {len(faults)} of {len(keys)} {part} response files cannot be float32\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\n  Expected finite numbers between -3.4e38 and 3.4e38: fetch or correct the files, or leave them out "
            "(dataset.subjects, dataset.rois)"
        )
    _add_ceilings(ceilings, dict(zip(keys, entries)), partial / "arrays")
    study = replace(study_of(wanted), stimuli=word_for_stimuli(dataset))
    about: dict[str, Any] = {"part": part, "study": asdict(study), "responses": entries}
    shown = {f"{subject} {roi}": entry["source"]["shape"][0] for (_, subject, roi), entry in zip(keys, entries)}
    if is_trial_data(dataset):
        about |= _seen(dataset, part, wanted)
    elif len(set(shown.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in shown.items())
        raise InputError(
            f"{wanted.folder}: {part} responses to different numbers of clips: {told}; expected one number; fetch the "
            "files that differ again, or leave them out (dataset.subjects, dataset.rois)"
        )
    io.write_json(partial / "arrays" / MANIFEST, about)
    if folder.exists():
        shutil.rmtree(folder)
    io.folder(folder.parent)
    shutil.move(partial / "arrays", folder)
    for leftover in unfinished.glob(f"{part}-*"):
        shutil.rmtree(leftover)


def _add_ceilings(
    ceilings: Mapping[Key, NDArray[np.float64]], entries: Mapping[Key, dict[str, Any]], arrays: Path
) -> None:
    """Write the study's own ceilings beside the responses that they are of, and name them in their entries."""
    for key, values in ceilings.items():
        entry = entries[key]
        if values.shape != (n_voxels := entry["source"]["shape"][2],):
            raise InputError(
                f"{entry['source']['file']}: {key[1]} {key[2]} has {n_voxels} voxels and ceilings of shape "
                f"{values.shape}; expected one for each voxel"
            )
        target = arrays.joinpath(*key) / f"{CEILING}.npy"
        io.write_array(target, values)
        entry["arrays"][CEILING] = _described(target, arrays)


def _seen(dataset: TrialData, part: Part, wanted: settings.Dataset) -> dict[str, Any]:
    """Each subject's stimuli, where not every subject saw all of them, and how many there are.

    With the training responses stand the test stimuli that each saw, too, as nothing but the training responses tells a
    fit who is fitted together; without test responses every subject is to be predicted for all.
    """
    sizes = {"train": dataset.n_train, "test": len(dataset.stimuli) - dataset.n_train}
    parts: list[Part] = [part]
    if part == "train" and any(map(dataset.has_test_responses, wanted.tracks)):
        parts.append("test")
    seen = {name: {subject: dataset.seen(name, subject) for subject in wanted.subjects} for name in parts}
    if all(len(rows) == sizes[name] for name, own in seen.items() for rows in own.values()):
        return {}
    tested = {"seen_in_test": seen["test"]} if len(parts) > 1 else {}
    return {"n_stimuli": sizes[part], "seen": seen[part]} | tested


def study_of(wanted: settings.Dataset) -> Study:
    """The data set of these parameters; simulated if its plug-in says so, or if a simulation's truth lies in it."""
    spec = plugins.load("datasets", wanted.name).at(wanted.folder)
    return Study(wanted.name, spec.title, spec.simulated or insilico_truth.is_simulated(wanted.folder))


def _convert(dataset: StudyData, part: Part, key: Key, wanted: settings.Dataset, partial: Path) -> dict[str, Any] | str:
    """One file's entry of the manifest, taken from work left behind where that is of the same file; or its fault."""
    track, subject, roi = key
    path, arrays = dataset.file(part, *key), partial / "arrays"
    source: dict[str, Any] = {
        "file": path.relative_to(wanted.folder).as_posix(),
        "sha256": io.sha256(path) if path.is_file() else None,
    }
    if is_trial_data(dataset):
        source["tables"] = dataset.digest(subject)
    done = partial / "done" / track / subject / f"{roi}.json"
    if done.is_file():
        entry: dict[str, Any] = io.read_json(done)
        files = [arrays / array["file"] for array in entry["arrays"].values()]
        if source["sha256"] and source.items() <= entry["source"].items() and all(file.is_file() for file in files):
            return entry
    stored = dataset.arrays(part, *key)
    values = stored[part]
    target = arrays / track / subject / roi
    try:
        unequal = plugins.load("datasets", wanted.name).unequal
        write_responses(target, values, BLOCK, unequal or wanted.missing_repetitions == "skip")
    except NotFloat32 as error:
        return f"{source['file']}: {subject} {roi}: of {values.size:,} responses {error}"
    names = [TRIALS, MEAN]
    if MASK in stored:
        io.write_array(target / f"{MASK}.npy", stored[MASK] == 1)
        names.append(MASK)
    source |= {"dtype": values.dtype.name, "order": _order(values), "shape": values.shape}
    written = {name: _described(target / f"{name}.npy", arrays) for name in names}
    entry = {"track": track, "subject": subject, "roi": roi, "source": source, "arrays": written}
    io.write_json(done, entry)
    return entry


class NotFloat32(Exception):
    """An error that counts the responses that are not finite, or too large."""


def write_responses(folder: Path, values: NDArray[Any], block: int, may_be_missing: bool = False) -> None:
    """Write single trials and their mean over repetitions, each file whole or not at all.

    values: numbers, (n_stimuli, n_repetitions, n_voxels), best memory-mapped; block: bytes
    may_be_missing: whether a trial that is NaN in every voxel is a missing one, left out of the mean; every stimulus
        needs one that is not

    Raises
    ------
    NotFloat32
        Some are not finite, or not when rounded; all are counted.
    """
    n_stimuli, n_repetitions, n_voxels = values.shape
    step = max(1, block // max(1, FLOAT32.itemsize * n_stimuli * n_repetitions))
    faults = {"NaN or infinite": 0, f"too large in {values.dtype}": 0}
    missing = _missing(values, block) if may_be_missing else np.zeros((n_stimuli, n_repetitions), dtype=bool)
    with (
        io.streamed(folder / f"{TRIALS}.npy", values.shape, FLOAT32) as trials,
        io.streamed(folder / f"{MEAN}.npy", (n_stimuli, n_voxels), FLOAT32) as mean,
    ):
        for start in range(0, n_voxels, step):
            rounded, counts = _rounded(values, slice(start, start + step), missing, block)
            for what, count in zip(faults, counts):
                faults[what] += count
            trials.write(np.ascontiguousarray(rounded.T).data)
            with np.errstate(invalid="ignore", over="ignore"):
                mean.write(np.ascontiguousarray(Responses(rounded, "", "").mean().T).data)
        if any(faults.values()):
            raise NotFloat32(" and ".join(f"{count:,} {what}" for what, count in faults.items() if count))


def _missing(values: NDArray[Any], block: int) -> NDArray[np.bool_]:
    """The trials that may be NaN, (n_stimuli, n_repetitions): none where a stimulus would have no other."""
    missing = np.empty(values.shape[:2], dtype=bool)
    for rows in pieces(values, block):
        missing[rows] = ~present(values[rows, :, :1])
        io.forget(values)
    return np.zeros_like(missing) if missing.all(axis=1).any() else missing


def _rounded(
    values: NDArray[Any], voxels: slice, missing: NDArray[np.bool_], block: int
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Some voxels in float32; how many values are not what they should be, and how many more are not when rounded.

    They should be finite, or NaN in a missing trial.
    """
    n_stimuli, n_repetitions, _ = values.shape
    rounded = np.empty((n_stimuli, n_repetitions, len(range(values.shape[2])[voxels])), dtype=FLOAT32)
    n_not_finite = n_bad = 0
    for rows in pieces(values, block):
        with np.errstate(over="ignore"):
            rounded[rows] = values[rows, :, voxels]
        good = np.isfinite(rounded[rows])
        if missing[rows].any():
            good[missing[rows]] = np.isnan(rounded[rows][missing[rows]])
        if n := good.size - np.count_nonzero(good):
            n_bad += int(n)
            unfit = ~good & (~np.isfinite(values[rows, :, voxels]) | missing[rows][:, :, None])
            n_not_finite += int(np.count_nonzero(unfit))
        io.forget(values)
    return rounded, (n_not_finite, n_bad - n_not_finite)


def _described(path: Path, root: Path) -> dict[str, Any]:
    array = io.read_array(path)
    return {
        "file": path.relative_to(root).as_posix(),
        "dtype": array.dtype.name,
        "order": _order(array),
        "shape": array.shape,
        "sha256": io.sha256(path),
    }


def _order(array: NDArray[Any]) -> str:
    return "C" if array.flags.c_contiguous else "F" if array.flags.f_contiguous else "neither"
