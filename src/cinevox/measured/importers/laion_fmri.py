"""LAION-fMRI: about 6,200 natural images a subject, five subjects, thirty sessions; 4 or 12 repetitions.

    derivatives/glmsingle-tedana/sub-XX/
        ses-YY/func/*_desc-SingletrialBetas_statmap.nii.gz    betas (i, j, k, trials)
        ses-YY/func/*_desc-SingletrialBetas_trials.tsv        session, run, beta_index (from 0), label (file name)
        *_stat-rsquare_desc-R2mean_statmap.nii.gz             above 0 within the brain
        *_desc-Noiseceiling<4rep,12rep,Allrep>_statmap.nii.gz
    derivatives/rois/sub-XX/*/*_space-T1w_res-1pt8_label-<ROI>_mask.nii.gz
    stimuli/task-images_stimuli.h5, task-images_metadata.csv  encoded images, one for each line of the table

The lines of trials.tsv are joined to volumes by beta_index. Names of stimuli are those of the study's own splits, whose
files (train_ids, test_ids) become splits of the table where they lie in the folder.

Reference: laion-fmri.org; the data set's documentation of its release 2026.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.errors import FileError, InputError
from cinevox.files import io
from cinevox.measured.importers import (
    BLOCK,
    Choices,
    Importer,
    Source,
    SubjectData,
    chosen_subjects,
    refuse,
    repetitions,
)
from cinevox.measured.importers._files import AGAIN, Files, image, roi_name, table, volume
from cinevox.measured.importers._laion_images import IMAGES, METADATA, images_of
from cinevox.measured.importers._masks import Mask, columns_of

SESSION = r"(sub-\w+?)_(ses-\w+?)_.*desc-SingletrialBetas_statmap\.nii(?:\.gz)?"
BRAIN = r"(sub-\w+?)_.*desc-R2mean_statmap\.nii(?:\.gz)?"
CEILING = r"(sub-\w+?)_task-images_.*desc-Noiseceiling(\w*rep)_statmap\.nii(?:\.gz)?"
ROI = r"(sub-\w+?)_space-T1w_(?:res-1pt8_)?label-(.+)_mask\.nii(?:\.gz)?"


def open_source(files: Files, choices: Choices) -> Source:
    """Look at every file of the subjects asked for; headers of volumes only."""
    faults: list[str] = []
    found: dict[str, dict[str, Path]] = {}
    for path, match in files.matching(SESSION):
        found.setdefault(match[1], {})[match[2]] = path
    if not found:
        faults.append(
            "sub-01_ses-01_task-images_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz: not there, nor of "
            "another subject and session; the study has them in derivatives/glmsingle-tedana"
        )
    parts = {}
    for name in chosen_subjects(found, choices.subjects, faults) if found else []:
        try:
            parts[name] = _Subject.open(files, name, found[name], choices.units == "rois", faults)
        except InputError as error:
            faults.append(str(error))
    refuse("laion_fmri", files.folder, faults)
    subjects = {name: part.data() for name, part in parts.items() if part is not None}
    ids = sorted({label for data in subjects.values() for label in data.trials["stimulus_id"]})
    notes = [f"{name}: sessions {', '.join(sorted(found[name]))}" for name in subjects]
    pictures = Files(choices.stimuli) if choices.stimuli else files
    images = images_of(pictures, ids)
    if images is None:
        notes.append(f"{IMAGES} with {METADATA} is not in this folder: images are looked for by their file names")
    return Source(
        subjects=subjects,
        stimuli=_stimuli(pictures, ids),
        images=images,
        notes=tuple(notes),
        splits=_splits(files, set(ids)),
    )


@dataclass(frozen=True)
class _Subject:
    """One subject's files. trials: by session, in the order of the volumes; inside: the units, a mask (i, j, k)"""

    sessions: Mapping[str, Path]
    trials: Mapping[str, pd.DataFrame]
    inside: NDArray[np.bool_]
    affine: NDArray[np.float64]
    units: pd.DataFrame
    sources: tuple[Path, ...]

    @classmethod
    def open(
        cls, files: Files, name: str, sessions: dict[str, Path], rois_only: bool, faults: list[str]
    ) -> _Subject | None:
        brain = next((path for path, match in files.matching(BRAIN) if match[1] == name), None)
        if brain is None:
            where = f"{name}_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"
            faults.append(f"{where}: not there; the study has it in derivatives/glmsingle-tedana/{name}")
            return None
        explained, affine = volume(brain)
        grid = _Grid(brain, explained.shape, affine)
        masks = [(path, match[2]) for path, match in files.matching(ROI) if match[1] == name]
        rois = [Mask(roi_name(label), grid.values(path, faults) > 0) for path, label in masks]
        if rois_only and not rois:
            faults.append(
                f"{name}: no masks of ROIs; expected derivatives/rois/{name}/*/{name}_space-T1w_res-1pt8_label-V1v_"
                "mask.nii.gz and so on; fetch them, or import the whole brain (--units all)"
            )
            return None
        inside = np.nan_to_num(explained) > 0
        if rois_only:
            inside &= np.logical_or.reduce([roi.inside for roi in rois])
        levels = [(path, match[2]) for path, match in files.matching(CEILING) if match[1] == name]
        ceilings = {f"ceiling:nc_{level}": grid.values(path, faults)[inside] for path, level in levels}
        trials, used = {}, [brain, *(path for path, _ in (*masks, *levels))]
        for session, path in sorted(sessions.items()):
            given = path.name.split("_space-")[0] + "_desc-SingletrialBetas_trials.tsv"
            lines = files.need(given, f"beside {path.name}", faults)
            shape = grid.shape_of(path, faults)
            if lines is not None and shape is not None:
                trials[session] = _trials(lines, path, shape[3], faults)
                used += [path, lines]
        return cls(dict(sorted(sessions.items())), trials, inside, affine, columns_of(inside, rois).assign(**ceilings),
                   tuple(used))  # fmt: skip

    def data(self) -> SubjectData:
        every = pd.concat(self.trials.values(), ignore_index=True)
        step = max(1, BLOCK // (4 * self.inside.size))
        counts = [len(trials) for trials in self.trials.values()]
        return SubjectData(
            trials=every.assign(repetition=repetitions(every["stimulus_id"])),
            units=self.units,
            sidecar={
                "Space": "T1w",
                "Affine": self.affine.tolist(),
                "Shape": list(self.inside.shape),
                "Normalized": "none",
                "Pipeline": "GLMsingle 1.2, TYPED_FITHRF_GLMDENOISE_RR, tedana",
            },
            blocks=partial(self._blocks, step),
            n_blocks=sum(-(-count // step) for count in counts),
            sources=self.sources,
            zero_is_missing=True,
        )

    def _blocks(self, step: int) -> Iterator[NDArray[Any]]:
        """Blocks of volumes, one after another: a compressed file is unpacked once."""
        for path in self.sessions.values():
            values = image(path).dataobj
            for start in range(0, values.shape[3], step):
                try:
                    block = np.asarray(values[..., start : start + step])
                except (OSError, EOFError, ValueError, zlib.error) as error:
                    raise FileError(f"{path}: cut off after volume {start} ({error}); {AGAIN}") from None
                yield block[self.inside].T


@dataclass(frozen=True)
class _Grid:
    """The grid that all of a subject's volumes have to be on: that of `path`."""

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def values(self, path: Path, faults: list[str]) -> NDArray[Any]:
        values, affine = volume(path)
        self._check(path, values.shape, affine, faults)
        return values if values.shape == self.shape else np.zeros(self.shape)

    def shape_of(self, path: Path, faults: list[str]) -> tuple[int, ...] | None:
        opened = image(path)
        if len(opened.shape) != 4:
            faults.append(f"{path}: {len(opened.shape)} axes, expected (i, j, k, trials); {AGAIN}")
            return None
        self._check(path, opened.shape[:3], opened.affine, faults)
        return opened.shape

    def _check(self, path: Path, shape: tuple[int, ...], affine: NDArray[Any], faults: list[str]) -> None:
        if shape != self.shape or not np.allclose(affine, self.affine, atol=1e-3):
            what = f"shape {shape}" if shape != self.shape else "another affine"
            faults.append(f"{path}: {what}, expected the grid of {self.path.name}, {self.shape}; {AGAIN}")


def _trials(path: Path, betas: Path, n_volumes: int, faults: list[str]) -> pd.DataFrame | None:
    """One session's trials in the order of the volumes."""
    lines = table(path, "\t", ("session", "run", "beta_index", "label"))
    order = pd.to_numeric(lines["beta_index"], errors="coerce").to_numpy()
    if not np.array_equal(np.sort(order), np.arange(n_volumes)):
        faults.append(
            f"{path}: {len(lines)} lines with beta_index {order.min():g} to {order.max():g}, expected 0 to "
            f"{n_volumes - 1}, one for each volume of {betas.name}; fetch both again, of the same version"
        )
        return None
    lines = lines.iloc[np.argsort(order)]
    return pd.DataFrame({"stimulus_id": lines["label"], "session": lines["session"], "run": lines["run"]}).reset_index(
        drop=True
    )


def _stimuli(files: Files, ids: Sequence[str]) -> pd.DataFrame:
    """Shared images with twelve repetitions test, those out of distribution are a split of their own."""
    parts = ["ood" if "_OOD_" in each else "test" if each.startswith("shared_12rep_") else "train" for each in ids]
    found = pd.DataFrame({"stimulus_id": ids, "name": ids, "split": parts})
    metadata = files.only(METADATA)
    if metadata is not None:
        about = table(metadata, ",", ("image_name",)).set_index("image_name")
        for column in (column for column in ("dataset", "unique_or_shared") if column in about):
            found[column] = about[column].reindex(ids).to_numpy()
    return found


def _splits(files: Files, ids: set[str]) -> dict[str, dict[str, list[str]]]:
    """The study's own splits that lie in the folder as <pool>/<name>.json, of the stimuli that there are."""
    found = {}
    for path, _ in files.matching(r"(?:tau|random_\d|cluster_k5_\d)\.json"):
        content = io.read_json(path)
        for variant in content.get("variants", ())[:1] if isinstance(content, dict) else ():
            part = {kind: [each for each in variant[f"{kind}_ids"] if each in ids] for kind in ("train", "test")}
            if all(part.values()):
                found[roi_name(f"{path.parent.name}-{path.stem}")] = part
    return found


SPEC = Importer(
    title="LAION-fMRI",
    expects=(
        "sub-XX_ses-YY_*_desc-SingletrialBetas_statmap.nii.gz   betas (derivatives/glmsingle-tedana)",
        "sub-XX_ses-YY_task-images_desc-SingletrialBetas_trials.tsv   what each volume is the response to",
        "sub-XX_*_desc-R2mean_statmap.nii.gz                    the brain, and the grid",
        "sub-XX_space-T1w_res-1pt8_label-<ROI>_mask.nii.gz      the ROIs (derivatives/rois)",
        "sub-XX_*_desc-Noiseceiling12rep_statmap.nii.gz         the study's ceilings, if you want them",
        "task-images_stimuli.h5, task-images_metadata.csv       the images (stimuli)",
    ),
    licence="betas CC0; images under the study's terms of use, no redistribution",
    restricted=True,
    size="thirty sessions become 4 bytes a trial and voxel: 3.8 GB for 31,856 trials of 30,000 voxels",
    open=open_source,
)
