"""The BOLD Moments Dataset (OpenNeuro ds005165, CC0): the challenge's clips and subjects, test responses included.

<folder> is the record's own tree, or what one needs of it, and `dataset.responses` says which version is meant:

    derivatives/versionA/MNI152/prepared_data/prepared_allvoxel_pkl/TRavg56789    version A, on the challenge's grid
        sub-XX/<ROI>_TRavg-56789_allvoxel.pkl                       {train_data_allvoxel, test_data_allvoxel, ...}
    derivatives/versionB/MNI152                                                   version B, GLMsingle, another grid
        prepared_allvoxel_pkl/sub-XX/sub-XX_roi-<ROI>_betas_normalized.pkl          the same, an ROI per hemisphere
        GLM/sub-XX/prepared_betas/sub-XX_organized_betas_task-{train,test}_normalized.pkl    whole brain: (betas,
        GLM/mask/sub-XX_mask-nonans_space-MNI152.nii, groupMask_space-MNI152.nii     stimulus names, mask)
    <clips>/NNNN.mp4                                                              the user's own, not in the record

The whole brain (WB) of version B is read from GLM, else from its ROI pickle. Its affine and masks are read from the
image in the tuple or from GLM/mask, never assumed; version A's mask only from a `voxel_mask` in its WB pickle. Without
a mask there are scores and no maps. Both parts of the responses stand in one pickle; a reader gets the part it asks
for. `_ds005165` says which of this is confirmed and which assumed.

Reference: Lahner et al. 2024, Nature Communications 15, 6241.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.measured.datasets import DatasetSpec, Grid, Part, _ds005165
from cinevox.measured.datasets._ds005165 import Content
from cinevox.measured.datasets.algonauts2021 import AFFINE, CLIPS, EXPECTED, VOLUME
from cinevox.measured.responses import Responses
from cinevox.project import params as settings
from cinevox.project.params import WHOLE_BRAIN, Track

CURE = "fetch it again from the record (README, The real data)"
ROIS_B, GLM, MASKS = "prepared_allvoxel_pkl", "GLM", "mask"


@dataclass(frozen=True)
class BoldMoments:
    """One version of the record (`cinevox.measured.datasets.StudyData`). Subjects are named as in it, sub-01."""

    folder: Path
    clips_folder: str
    responses_folder: str

    @property
    def places_rois(self) -> bool:
        return False

    @property
    def responses_path(self) -> Path:
        return self.folder / self.responses_folder

    @property
    def is_version_b(self) -> bool:
        return any((self.responses_path / name).is_dir() for name in (ROIS_B, GLM))

    @cached_property
    def clips(self) -> tuple[Path, ...]:
        return tuple(io.files(self.folder / self.clips_folder, CLIPS))

    @cached_property
    def _numbers(self) -> list[int]:
        found = (re.match(r"\d+", path.name) for path in self.clips)
        return [int(match[0]) if match else -1 for match in found]

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        root = self.responses_path
        parents = (root / ROIS_B, root / GLM) if self.is_version_b else (root,)
        return tuple(sorted({path.name for parent in parents for path in parent.glob("sub-*") if path.is_dir()}))

    @property
    def has_responses(self) -> bool:
        return any(self._files("train", subject) for subject in self.subjects)

    def rois(self, track: Track, subject: str) -> tuple[str, ...]:
        there = self._files("train", subject)
        if track == "full":
            return (WHOLE_BRAIN,) if WHOLE_BRAIN in there else ()
        return _ds005165.askable(there.keys() - {WHOLE_BRAIN})

    def file(self, part: Part, track: Track, subject: str, roi: str) -> Path:
        """The pickle; of an ROI in parts their common name, {lFFA,rFFA}; of one that is not there where it would be."""
        there = self._files(part, subject)
        parts = _ds005165.parts_of(roi, there)
        if parts:
            first = there[parts[0]]
            return (
                first
                if len(parts) == 1
                else first.with_name(first.name.replace(parts[0], "{" + ",".join(parts) + "}", 1))
            )
        if self.is_version_b:
            return self.responses_path / ROIS_B / subject / f"{subject}_roi-{roi}_betas_normalized.pkl"
        return self.responses_path / subject / f"{roi}_TRavg-56789_allvoxel.pkl"

    def arrays(self, part: Part, track: Track, subject: str, roi: str) -> dict[str, NDArray]:
        contents = [self._read(path, part) for path in self._parts(part, track, subject, roi)]
        first = contents[0]
        if roi == WHOLE_BRAIN and part == "train":
            mask = self._mask(part, subject, first)
            return {part: first.values} | ({} if mask is None else {"voxel_mask": mask})
        if len({content.values.shape[:2] for content in contents}) > 1:
            told = ", ".join(str(content.values.shape) for content in contents)
            path = self.file(part, track, subject, roi)
            raise FileError(f"{path}: its parts are of shape {told}; expected the same stimuli and repetitions; {CURE}")
        values = first.values if len(contents) == 1 else np.concatenate([each.values for each in contents], axis=2)
        return {part: values}

    def responses(self, part: Part, track: Track, subject: str, roi: str) -> Responses:
        return Responses(self.arrays(part, track, subject, roi)[part].astype(np.float32, copy=False), subject, roi)

    def has_test_responses(self, track: Track) -> bool:
        files = [self._files("test", subject) for subject in self.subjects]
        return any((WHOLE_BRAIN in there) if track == "full" else there.keys() - {WHOLE_BRAIN} for there in files)

    @cached_property
    def grid(self) -> Grid | None:
        if not self.is_version_b:
            return Grid(VOLUME, AFFINE)
        if self._stored_grid is not None:
            return self._stored_grid
        brains = (self._files("train", subject).get(WHOLE_BRAIN) for subject in self.subjects)
        images = (self._read(path, "train").image for path in brains if path is not None)
        return next((_grid(each.data.shape, each.affine) for each in images if each and each.data is not None), None)

    @cached_property
    def _stored_grid(self) -> Grid | None:
        """The grid of version B's first mask file, if there is one; the pickles have gigabytes."""
        for path in sorted((self.responses_path / GLM / MASKS).glob("*.nii")):
            mask, affine = _ds005165.read_mask(path)
            return _grid(mask.shape, affine)
        return None

    def _files(self, part: Part, subject: str) -> dict[str, Path]:
        """ROI of the record -> its pickle."""
        if not self.is_version_b:
            return _ds005165.rois_of(self.responses_path / subject, _ds005165.VERSION_A)
        found = _ds005165.rois_of(self.responses_path / ROIS_B / subject, _ds005165.VERSION_B)
        folder = self.responses_path / GLM / subject / "prepared_betas"
        brain = folder / f"{subject}_organized_betas_task-{part}_normalized.pkl"
        return found | ({WHOLE_BRAIN: brain} if brain.is_file() else {})

    def _parts(self, part: Part, track: Track, subject: str, roi: str) -> list[Path]:
        there = self._files(part, subject)
        parts = _ds005165.parts_of(roi, there)
        if parts:
            return [there[name] for name in parts]
        path = self.file(part, track, subject, roi)
        meant = " or ".join(" + ".join(reading) for reading in _ds005165.readings_of(roi)[1:])
        known = ", ".join(_ds005165.askable(there.keys())) or f"nothing; subjects are {', '.join(self.subjects)}"
        raise FileError(
            f"{path}: no such file{f', nor {meant}' if meant else ''}; of {subject} there is {known}; "
            f"{CURE}, or set dataset.subjects and dataset.rois"
        )

    def _read(self, path: Path, part: Part) -> Content:
        return _ds005165.read(path, part, self._numbers, CURE)

    def _mask(self, part: Part, subject: str, content: Content) -> NDArray | None:
        """Locate the whole-brain columns: as the pickle says, else by the mask of as many voxels in GLM/mask."""
        image, grid = content.image, self._stored_grid if self.is_version_b else None
        if image is not None and grid is not None and not np.allclose(image.affine, grid.affine, atol=1e-3):
            path = self.file(part, "full", subject, WHOLE_BRAIN)
            raise FileError(
                f"{path}: its mask has the affine {image.affine.tolist()}, and {GLM}/{MASKS} has "
                f"{[list(row) for row in grid.affine]}; they are of different grids; {CURE}"
            )
        if content.mask is not None or not self.is_version_b:
            return content.mask
        names = (f"{subject}_mask-nonans_space-MNI152.nii", "groupMask_space-MNI152.nii")
        files = [path for name in names if (path := self.responses_path / GLM / MASKS / name).is_file()]
        masks = [_ds005165.read_mask(path)[0] for path in files]
        n_voxels = content.values.shape[2]
        fitting = [mask for mask in masks if np.count_nonzero(mask == 1) == n_voxels]
        return next(iter(fitting or masks), None)


def _grid(shape: tuple[int, ...], affine: NDArray[np.floating]) -> Grid:
    x, y, z = shape
    return Grid((x, y, z), tuple(tuple(map(float, row)) for row in affine))  # type: ignore[misc]


def open_folder(wanted: settings.Dataset) -> BoldMoments:
    """Look whether the folder is one of this data set; nothing in it is read.

    Raises
    ------
    FileError
        The folder, its clips or its responses are missing; everything that is missing is named.
    """
    clips, responses = wanted.clips, wanted.responses
    found = BoldMoments(wanted.folder, clips, responses)
    if not wanted.folder.is_dir():
        raise FileError(f"{wanted.folder}: no such folder; {CURE}, or set dataset.folder in params.yaml")
    faults = []
    if not found.clips:
        faults.append(f"no {clips}/*.mp4 (dataset.clips): the clips are not in the record, ask its authors for them")
    if not found.has_responses:
        faults.append(
            f"no responses in {responses} (dataset.responses): expected sub-XX/*_TRavg*.pkl (version A), "
            f"or {ROIS_B}/sub-XX/*.pkl or {GLM}/sub-XX/prepared_betas/*.pkl (version B); {CURE}"
        )
    if faults:
        raise FileError(f"{wanted.folder}: {'; '.join(faults)}")
    return found


SPEC = DatasetSpec(
    title="BOLD Moments",
    open=open_folder,
    licence="responses CC0; clips under the terms of their authors, not to be redistributed",
    restricted=True,
    n_train=1000,
    n_test=102,
    expected=EXPECTED,
)
