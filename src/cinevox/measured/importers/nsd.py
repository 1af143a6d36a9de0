"""The Natural Scenes Dataset: 73,000 images, eight subjects with 9,000 own and 1,000 shared images, three times each.

    nsddata/experiments/nsd/nsd_expdesign.mat                  masterordering, subjectim, sharedix; all count from 1
    nsddata/ppdata/subjNN/<space>/roi/nsdgeneral.nii.gz        the units; other masks beside it become ROIs
    nsddata/freesurfer/subjNN/label/<mask>.mgz.ctab            the names of a mask's numbers
    nsddata_betas/ppdata/subjNN/<space>/<version>/betas_sessionSS.hdf5    betas, int16: percent signal change x 300
    nsddata_betas/ppdata/subjNN/<space>/<version>/ncsnr.nii.gz
    nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5               imgBrick (73000, 425, 425, 3)

HDF5 files of MATLAB have their axes reversed: betas are (750 trials, k, j, i). Trial t of session s is trial
750 (s - 1) + t of the experiment, whatever sessions there are. Outside of what a session measured betas are 0.

Reference: Allen et al. 2022, Nature Neuroscience 25, 116; the data manual at naturalscenesdataset.org.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.measured.importers import Choices, Importer, Source, SubjectData, chosen_subjects, refuse, repetitions
from cinevox.measured.importers._files import AGAIN, Files, hdf5, volume
from cinevox.measured.importers._masks import Mask, columns_of, labels_in
from cinevox.measured.importers._nsd_design import IMAGES, SESSIONS, TRIALS, Design, id_of, images_of

SCALE = 300
OWN = ("prf-", "floc-", "streams", "nsdgeneral")  # masks of the study's own measurements
DESIGN, GENERAL, BRAIN, NOISE = "nsd_expdesign.mat", "nsdgeneral.nii.gz", "brainmask.nii.gz", "ncsnr.nii.gz"


def open_source(files: Files, choices: Choices) -> Source:
    """Look at every file of the subjects asked for."""
    faults: list[str] = []
    found = _betas(files, choices.version, faults)
    if not found and choices.version is not None and (there := _betas(files, None, [])):
        names = sorted({next(iter(each.values())).parent.name for each in there.values()})
        faults.append(f"--version: no folder {choices.version} on the way to betas; there is {', '.join(names)}")
    elif not found:
        faults.append(
            "betas_session01.hdf5: not there; expected it under nsddata_betas/ppdata/subj01/func1pt8mm/"
            "betas_fithrf_GLMdenoise_RR, or of another subject, space and version (betas as .nii.gz or .mat are "
            "not read)"
        )
    names = chosen_subjects(found, choices.subjects, faults) if found else []
    path = files.need(DESIGN, f"nsddata/experiments/nsd/{DESIGN}", faults)
    design = images = None
    try:
        design = Design.read(path) if path else None
        images = images_of(Files(choices.stimuli) if choices.stimuli else files)
    except InputError as error:
        faults.append(str(error))
    parts = {}
    for name in names:
        try:
            parts[name] = _Subject.open(files, name, found[name], choices, faults)
        except InputError as error:
            faults.append(str(error))
    refuse("nsd", files.folder, faults)
    assert design is not None
    subjects = {name: part.data(design) for name, part in parts.items() if part is not None}
    seen = np.unique(np.concatenate([part.shown(design) for part in parts.values() if part is not None]))
    notes = [f"{name}: sessions {_ranges(found[name])} of {SESSIONS}" for name in names]
    if images is None:
        notes.append(f"{IMAGES} is not in this folder, so stimuli.tsv has no files: images can't be seen by a network")
    return Source(
        subjects=subjects,
        stimuli=design.stimuli(seen),
        images=images,
        notes=tuple(notes),
    )


def _betas(files: Files, version: str | None, faults: list[str]) -> dict[str, dict[int, Path]]:
    """The sessions' files of each subject, of one space and version; several are a fault."""
    folders: dict[str, dict[Path, dict[int, Path]]] = {}
    for path, match in files.matching(r"betas_session(\d+)\.hdf5"):
        below = path.relative_to(files.folder).parts if path.is_relative_to(files.folder) else path.parts
        number = next((part[4:] for part in path.parts[::-1] if re.fullmatch(r"subj\d\d", part)), None)
        if number is not None and (version is None or version in below):
            folders.setdefault(f"sub-{number}", {}).setdefault(path.parent, {})[int(match[1])] = path
    for name, there in folders.items():
        if len(there) > 1:
            several = ", ".join(sorted(each.relative_to(files.folder).as_posix() for each in there))
            faults.append(f"{name}: several versions of betas ({several}); name a folder of one of them with --version")
    return {name: next(iter(there.values())) for name, there in folders.items()}


@dataclass(frozen=True)
class _Subject:
    """One subject's files. inside: the units, a mask (i, j, k); dtype: of the betas"""

    name: str
    sessions: Mapping[int, Path]
    inside: NDArray[np.bool_]
    affine: NDArray[np.float64]
    columns: pd.DataFrame
    dtype: np.dtype
    sources: tuple[Path, ...]

    @classmethod
    def open(
        cls, files: Files, name: str, sessions: dict[int, Path], choices: Choices, faults: list[str]
    ) -> _Subject | None:
        folder = next(iter(sessions.values())).parent
        own = name.replace("sub-", "subj")
        space = next((part for part in folder.parts[::-1] if part.startswith("func")), "func1pt8mm")
        near = [path for path in files.paths if own in path.parts and space in path.parts]
        masks = {path.name: path for path in near if path.parent.name == "roi" and path.name.endswith(".nii.gz")}
        brain = {path.name: path for path in near if path.name == BRAIN} | masks
        needed = GENERAL if choices.units == "rois" else BRAIN
        where = f"nsddata/ppdata/{own}/{space}/{'roi/' if needed == GENERAL else ''}{needed}"
        if needed not in brain:
            faults.append(f"{name}: {needed}: not there; the study has it as {where}")
            return None
        values, affine = volume(brain[needed])
        dtype = _check(name, sessions, values.shape, faults)
        inside = values > 0
        rois, paths = _rois(files, own, masks, values.shape, faults)
        extra, noise = {}, folder / NOISE
        if noise.is_file():
            ceiling, _ = volume(noise)
            extra = {"ceiling:ncsnr": ceiling[inside]} if ceiling.shape == inside.shape else {}
            if not extra:
                faults.append(f"{noise}: shape {ceiling.shape}, expected {inside.shape}, as {needed} has; {AGAIN}")
        columns = columns_of(inside, rois).assign(**extra)
        sources = (*sessions.values(), brain[needed], *paths, *([noise] if extra else []))
        return cls(name, dict(sorted(sessions.items())), inside, affine, columns, dtype, sources)

    def shown(self, design: Design) -> NDArray[np.intp]:
        return design.shown(int(self.name[4:]), np.array(list(self.sessions)))

    def data(self, design: Design) -> SubjectData:
        ids = [id_of(number) for number in self.shown(design)]
        trials = pd.DataFrame(
            {
                "stimulus_id": ids,
                "session": np.repeat(list(self.sessions), TRIALS),
                "repetition": repetitions(ids),
            }
        )
        folder = next(iter(self.sessions.values())).parent
        scaled = self.dtype.kind == "i"
        return SubjectData(
            trials=trials,
            units=self.columns,
            sidecar={
                "Space": f"{self.name} {folder.parent.name}",
                "Affine": self.affine.tolist(),
                "Shape": list(self.inside.shape),
                **({"Scale": SCALE} if scaled else {}),
                "Normalized": "none",
                "Pipeline": folder.name,
            },
            blocks=self._blocks,
            n_blocks=len(self.sessions),
            sources=self.sources,
            dtype=np.dtype("<i2" if scaled else "<f4"),
            zero_is_missing=True,
        )

    def _blocks(self) -> Iterator[NDArray[Any]]:
        return (_read(path, self.inside) for path in self.sessions.values())


def _check(name: str, sessions: Mapping[int, Path], shape: tuple[int, ...], faults: list[str]) -> np.dtype:
    """The type of all sessions' betas; what is not as expected becomes a fault."""
    types = {}
    for number, path in sessions.items():
        try:
            with hdf5(path) as opened:
                betas = opened.get("betas")
                found = betas.shape if isinstance(betas, h5py.Dataset) else None
                if found != (TRIALS, *shape[::-1]):
                    faults.append(
                        f"{path}: /betas is {found}, expected {(TRIALS, *shape[::-1])} (trials, k, j, i), as the masks "
                        f"of {name} have it; {AGAIN}"
                    )
                elif betas.dtype.kind not in "if" or (betas.dtype.kind == "i" and betas.dtype.itemsize != 2):
                    faults.append(f"{path}: /betas is {betas.dtype}, expected int16 (x {SCALE}) or float32; {AGAIN}")
                else:
                    types[number] = betas.dtype
        except InputError as error:
            faults.append(str(error))
        if not 1 <= number <= SESSIONS:
            faults.append(f"{path}: session {number}, expected 1 to {SESSIONS}; leave it out")
    kinds = {dtype.kind for dtype in types.values()}
    if len(kinds) > 1:
        faults.append(f"{name}: some sessions are int16 and some float; expected one type; fetch them all again")
    return next(iter(types.values()), np.dtype("<i2"))


def _read(path: Path, inside: NDArray[np.bool_]) -> NDArray[Any]:
    """One session's betas, (750, n_units), a slice k at a time: the file holds each voxel's trials together."""
    i, j, k = np.nonzero(inside)
    with hdf5(path) as opened:
        betas = opened["betas"]
        found = np.empty((len(betas), len(i)), dtype=betas.dtype)
        for slab in np.unique(k):
            here = np.flatnonzero(k == slab)
            first_i, first_j = i[here].min(), j[here].min()
            box = betas[:, slab, first_j : j[here].max() + 1, first_i : i[here].max() + 1]
            found[:, here] = box[:, j[here] - first_j, i[here] - first_i]
    return found


def _rois(
    files: Files, subject: str, masks: Mapping[str, Path], shape: tuple[int, ...], faults: list[str]
) -> tuple[list[Mask], list[Path]]:
    """The ROIs of every mask beside nsdgeneral (both hemispheres'), with the names that its .ctab gives."""
    rois, used = [], []
    for name, path in sorted(masks.items()):
        stem = name.removesuffix(".nii.gz")
        if stem.startswith(("lh.", "rh.")):
            continue
        try:
            values, _ = volume(path)
        except InputError as error:
            faults.append(str(error))
            continue
        if values.shape != shape:
            faults.append(f"{path}: shape {values.shape}, expected {shape}; {AGAIN}")
            continue
        tables = [each for each in files.paths if each.name == f"{stem}.mgz.ctab" and subject in each.parts]
        numbers = np.unique(values[values > 0])
        if not tables and len(numbers) > 1:
            faults.append(
                f"{path}: numbers {numbers.min():g} to {numbers.max():g} without names; expected "
                f"nsddata/freesurfer/{subject}/label/{stem}.mgz.ctab; fetch that, or remove the mask"
            )
            continue
        before = "" if stem.startswith(OWN) else f"{stem}-"  # V1 of an atlas is another one
        names = _names(tables[0]) if tables else {int(number): stem for number in numbers}
        rois += labels_in(values, {number: before + name for number, name in names.items()} if tables else names)
        used += [path, *tables[:1]]
    return rois, used


def _names(path: Path) -> dict[int, str]:
    lines = (line.split() for line in path.read_text(errors="replace").splitlines())
    return {int(line[0]): line[1] for line in lines if len(line) > 1 and line[0].isdigit() and line[0] != "0"}


def _ranges(sessions: Mapping[int, Path]) -> str:
    numbers = sorted(sessions)
    starts = [number for number in numbers if number - 1 not in sessions]
    ends = [number for number in numbers if number + 1 not in sessions]
    return ", ".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends))


SPEC = Importer(
    title="Natural Scenes Dataset",
    expects=(
        "nsd_expdesign.mat                     order of the images (nsddata/experiments/nsd)",
        "subjNN/../betas_sessionSS.hdf5        betas, int16 / 300 (nsddata_betas/ppdata), one version of them",
        "subjNN/<space>/roi/nsdgeneral.nii.gz  the units; with --units all <space>/brainmask.nii.gz",
        "subjNN/<space>/roi/*.nii.gz, subjNN/label/*.mgz.ctab   ROIs and their names, as many as you want",
        "ncsnr.nii.gz                          beside the betas, if you want the study's ceilings",
        "nsd_stimuli.hdf5                      the images, if networks are to see them",
    ),
    licence="NSD Terms and Conditions: sign the NSD Data Access Agreement; no redistribution",
    restricted=True,
    size="40 GB of betas at 1.8 mm become 0.9 GB (15,724 units); images of one subject about 4 GB",
    open=open_source,
    versions=True,
)
