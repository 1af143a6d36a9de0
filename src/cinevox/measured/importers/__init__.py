"""Importers: published studies, as downloaded, into trials tables. One file each, the file name is the key.

An importer's `open` looks at every file and reports all that is wrong at once. Then betas pass through in blocks of
trials. What each one expects: docs/import.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import FileError, InputError
from cinevox.files import disk, io
from cinevox.measured.importers._files import Files
from cinevox.measured.trials_table import writing
from cinevox.project import plugins
from cinevox.project.params.names import outside

Progress = Callable[[Iterable, int, str], Iterable]
Units = Literal["rois", "all"]
BLOCK = 2**27  # bytes of betas in memory at a time, in float32


@dataclass(frozen=True)
class Choices:
    """The user's choices.

    subjects: to import, named as in the table; empty: all
    units: those in any ROI, or all within the brain
    version: a folder's name on the way to the betas, where a study has several versions of them
    stimuli: a folder with images or clips, or with the file that packs them; None: in the study's folder
    """

    subjects: tuple[str, ...] = ()
    units: Units = "rois"
    version: str | None = None
    stimuli: Path | None = None


@dataclass(frozen=True)
class SubjectData:
    """One subject of a study, as the table has it.

    trials: stimulus_id, session, and more; units: kind, and more, in the order of the betas' columns
    sidecar: what <subject>_betas.json says; scale: integers are divided by it; dtype: of the betas
    blocks: makes an iterator over betas, (n_trials, n_units) each, in the order of the trials; n_blocks: how many
    zero_is_missing: 0 in every trial of a session means that nothing was measured
    sources: the files that all of it follows from
    """

    trials: pd.DataFrame
    units: pd.DataFrame
    sidecar: Mapping[str, Any]
    blocks: Callable[[], Iterator[NDArray[Any]]]
    n_blocks: int
    sources: tuple[Path, ...]
    dtype: np.dtype = field(default_factory=lambda: np.dtype("<f4"))
    zero_is_missing: bool = False


@dataclass(frozen=True)
class Source:
    """A study's files, looked at and found to be right.

    stimuli: stimulus_id, name (of its file), split (train, test or another word), and more
    images: gives the content of a stimulus's file, where the study packs them; None: they are files of their own
    notes: what the user should know, a sentence each
    splits: name -> {"train": ids, "test": ids}, beside the column `split`
    participants: subject -> column -> value
    """

    subjects: Mapping[str, SubjectData]
    stimuli: pd.DataFrame
    images: Callable[[str], bytes] | None = None
    notes: tuple[str, ...] = ()
    splits: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    participants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Importer:
    """An importer as a plug-in.

    expects: the files that it needs, a line each; licence: their terms, in words; size: of one subject, in words
    restricted: the betas may not be passed on; versions: there may be several of the betas, see Choices.version
    """

    title: str
    expects: tuple[str, ...]
    licence: str
    restricted: bool
    size: str
    open: Callable[[Files, Choices], Source]
    versions: bool = False


@dataclass(frozen=True)
class Made:
    """A table that was written, or was there. reports: by subject; n_files: stimuli with a file, of n_stimuli"""

    target: Path
    was_there: bool
    reports: Mapping[str, Mapping[str, Any]]
    n_stimuli: int
    n_files: int
    notes: tuple[str, ...]


def convert(
    study: str,
    folder: Path,
    target: Path,
    choices: Choices | None = None,
    progress: Progress = lambda items, _total, _label: items,
) -> Made:
    """Write the trials table of a study's files, whole or not at all; after a kill the same call goes on.

    Memory holds one block of trials (`BLOCK`), however many there are.

    progress: passes blocks through, given their number and a label

    Raises
    ------
    InputError
        No such importer; files are missing or are not the study's, all of them at once; the target holds something
        else; there is no room.
    """
    importer, chosen = plugins.load("importers", study), choices or Choices()
    for given in (folder, *([chosen.stimuli] if chosen.stimuli else [])):
        if not given.is_dir():
            raise InputError(f"{given}: no such folder; name the one that the files were downloaded into")
    if chosen.version is not None and not importer.versions:
        raise InputError(f"--version {chosen.version}: {importer.title} has one version of its betas; leave it out")
    source: Source = importer.open(Files(folder), chosen)
    digests = {name: _digest(folder, data, chosen) for name, data in source.subjects.items()}
    table = writing.TableWriter(target, {"study": study, "subjects": digests})
    originals = _originals(source, Files(chosen.stimuli or folder))
    if table.is_there():
        reports = {name: _report(target, name, data) for name, data in source.subjects.items()}
        stimuli = _with_files(target, source, originals, progress)
        writing.write_table(target / writing.STIMULI, stimuli)  # files may have come since
        return Made(target, True, reports, len(stimuli), int(stimuli["file"].count()), source.notes)
    _require_room(table, source)
    reports = {}
    for name, data in source.subjects.items():
        report = table.done(name, digests[name])
        if report is None:
            writer = table.subject(name, data.trials.copy(), data.units, data.dtype, data.zero_is_missing)
            for block in progress(data.blocks(), data.n_blocks, name):
                writer.append(block)
            report = table.keep(writer, data.sidecar, digests[name])
        reports[name] = report
    stimuli = _with_files(table.folder, source, originals, progress)
    people = [{"participant_id": name, **source.participants.get(name, {})} for name in source.subjects]
    description = {
        "Name": importer.title,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": importer.licence,
        "GeneratedBy": [{"Name": "cinevox"}],
        "cinevox": {"restricted": importer.restricted},
    }
    table.finish(tuple(source.subjects), stimuli, pd.DataFrame(people), description, source.splits)
    return Made(target, False, reports, len(stimuli), int(stimuli["file"].count()), source.notes)


def _digest(folder: Path, data: SubjectData, chosen: Choices) -> str:
    """Name all that a subject's files follow from: sources by name, size and time of change, and the choices."""
    stats = [(path.relative_to(folder).as_posix(), path.stat()) for path in data.sources]
    content = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats] + [chosen.units, str(chosen.version)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _report(target: Path, name: str, data: SubjectData) -> dict[str, Any]:
    """The report of a subject that was written by an earlier call."""
    try:
        n_trials, n_units = io.read_array(target / name / f"{name}_betas.npy").shape
        trials = pd.read_csv(target / name / f"{name}_trials.tsv", sep="\t")
    except (FileError, OSError, ValueError):
        raise InputError(f"{target}: {name} is not whole any more; remove {target} and import it again") from None
    excluded = int(trials["exclude"].sum()) if "exclude" in trials else 0
    left_out = len(data.units) - n_units
    return {"n_trials": n_trials, "n_units": n_units, "units_left_out": left_out, "trials_excluded": excluded}


def _require_room(table: writing.TableWriter, source: Source) -> None:
    """Require room for all betas that are not written, and for a second copy of the largest (see SubjectWriter)."""
    sizes = {name: len(data.trials) * len(data.units) * data.dtype.itemsize for name, data in source.subjects.items()}
    there = sum(path.stat().st_size for path in table.folder.rglob("*_betas.npy"))
    needed = sum(sizes.values()) + max(sizes.values()) - there
    if needed > disk.free(table.folder):
        raise disk.full(table.target.parent, needed)


def _originals(source: Source, files: Files) -> dict[str, Path]:
    """Find the file of each stimulus, those that are there; refuse two files of one name, and names that are paths."""
    if paths := [name for name in source.stimuli["name"] if outside(name) or Path(name).name != name]:
        raise InputError(
            f"{files.folder}: stimuli called {', '.join(map(repr, paths[:3]))}; expected names of files, without "
            "folders; fetch the table of trials again"
        )
    if source.images is not None:
        return {}
    found = ((stimulus, files.only(name)) for stimulus, name in source.stimuli[["stimulus_id", "name"]].to_numpy())
    return {stimulus: path for stimulus, path in found if path is not None}


def _with_files(folder: Path, source: Source, originals: Mapping[str, Path], progress: Progress) -> pd.DataFrame:
    """The table of stimuli, with the file of each that has one, after those were put into the table's folder."""
    wanted = source.stimuli[["stimulus_id", "name"]].to_numpy()
    files = []
    for stimulus, name in progress(wanted, len(wanted), "stimuli"):
        path = folder / writing.STIMULUS_FILES / name
        if source.images is not None and not path.is_file():
            io.write_bytes(path, source.images(stimulus))
        elif stimulus in originals:
            size = originals[stimulus].stat().st_size
            if not path.is_file() or path.stat().st_size != size:
                with io.whole(path, size) as stream, originals[stimulus].open("rb") as given:
                    shutil.copyfileobj(given, stream)
        files.append(path.relative_to(folder).as_posix() if path.is_file() else None)
    stimuli = source.stimuli.drop(columns="name")
    stimuli.insert(1, "file", files)
    return stimuli


def chosen_subjects(there: Iterable[str], wanted: Sequence[str], faults: list[str]) -> list[str]:
    """The subjects to import, of those there are, by name; unknown ones are added to the faults."""
    known = sorted(there)
    if unknown := [name for name in wanted if name not in known]:
        faults.append(f"--subject: there is no {', '.join(unknown)}; there are {', '.join(known) or 'none'}")
    return [name for name in known if not wanted or name in wanted]


def repetitions(stimuli: Sequence[str] | pd.Series, order: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """The number of times that each trial's stimulus was shown up to this trial, from 1 on.

    order: numbers that grow with time; None: trials are in the order of time
    """
    shown = pd.Series(np.asarray(stimuli), index=np.arange(len(stimuli)) if order is None else order).sort_index()
    counts = (shown.groupby(shown).cumcount() + 1).to_numpy()
    found = np.empty_like(counts)
    found[np.arange(len(stimuli)) if order is None else np.argsort(order)] = counts
    return found


def trials_in_block(n_units: int) -> int:
    """The number of trials that fill a block."""
    return max(1, BLOCK // max(1, 4 * n_units))


def refuse(study: str, folder: Path, faults: Sequence[str]) -> None:
    """Raise all faults of a study's files as one error.

    Raises
    ------
    InputError
        There are any.
    """
    if faults:
        cure = f"`cinevox import {study}` lists what is expected"
        raise InputError(
            f"{folder}: {len(faults)} {'things are' if len(faults) > 1 else 'thing is'} not as expected ({cure})\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
