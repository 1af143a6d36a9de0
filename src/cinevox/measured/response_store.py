"""Measured responses on disk: what `conversion` writes once and every later step reads, memory-mapped.

    manifest.json                                 whose they are; each file's sha256, shape, dtype, order, and source
    <track>/<subject>/<roi>/trials.npy            float32, (n_stimuli, n_repetitions, n_voxels)
    <track>/<subject>/<roi>/mean.npy              float32, (n_stimuli, n_voxels), over repetitions
    <track>/<subject>/<roi>/ceiling.npy           float64, (n_voxels,), the study's own, if params.ceiling names one
    <track>/<subject>/<roi>/voxel_mask.npy        bool, the volume: where the whole brain's columns lie

Where subjects saw different stimuli, the manifest has the positions of each subject's stimuli among those of the part:
its rows are responses to them, in that order. A stimulus with fewer repetitions than others is filled up with NaN.

A folder for the training and one for the test responses. A voxel's responses lie together (Fortran order), so that
some voxels are read without the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files import io
from cinevox.measured.responses import Columns, Responses, side_by_side
from cinevox.project.params import WHOLE_BRAIN, Track

MANIFEST, TRIALS, MEAN, MASK, CEILING = "manifest.json", "trials", "mean", "voxel_mask", "ceiling"
AXES = {
    TRIALS: "n_stimuli, n_repetitions, n_voxels",
    MEAN: "n_stimuli, n_voxels",
    MASK: "the three axes of the volume",
    CEILING: "n_voxels",
}


@dataclass(frozen=True)
class Study:
    """The data set that responses are of: its plug-in, its name for readers, and whether they are simulated.

    stimuli: the word for what its subjects were shown, `clips`, or `stimuli` where that may be images, too
    """

    name: str
    title: str
    in_silico: bool
    stimuli: str = "clips"


@dataclass(frozen=True)
class Converted:
    """The training or the test responses of a data set. Opening reads the manifest; arrays are read as they are used.

    entries: (track, subject, ROI) -> its entry of the manifest
    seen: subject -> positions of its stimuli among those of this part; empty where every subject saw all of them
    seen_in_test: the same of the test stimuli, with the training responses
    n_of_part: number of stimuli of this part, of a study whose subjects saw different ones
    """

    folder: Path
    entries: Mapping[tuple[str, str, str], Mapping[str, Any]]
    study: Study
    seen: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    seen_in_test: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    n_of_part: int | None = None

    @cached_property
    def n_stimuli(self) -> int:
        """Number of stimuli of this part; 0 where there are no responses."""
        if self.n_of_part is not None:
            return self.n_of_part
        return next((int(entry["arrays"][MEAN]["shape"][0]) for entry in self.entries.values()), 0)

    def blocks(self, track: Track) -> list[tuple[str, str]]:
        """Every subject and ROI of a track, subjects who saw the same stimuli one after another."""
        return [(subject, roi) for known, subject, roi in self.entries if known == track]

    def has(self, track: Track) -> bool:
        return any(known == track for known, _, _ in self.entries)

    def trials(self, track: Track, subject: str, roi: str) -> Responses:
        """Single-trial responses.

        Raises
        ------
        FileError
            There are none of this ROI of this subject, or their file is missing or is another one.
        """
        return Responses(self._array(TRIALS, track, subject, roi), subject, roi)

    def mean(self, track: Track, subject: str, roi: str) -> NDArray[np.float32]:
        """Mean over repetitions, (n_stimuli, n_voxels). Raises as `trials`."""
        return self._array(MEAN, track, subject, roi)

    def ceiling(self, track: Track, subject: str, roi: str) -> NDArray[np.float64]:
        """The study's own ceiling of each voxel, (n_voxels,), NaN where it has none. Raises as `trials`."""
        return self._array(CEILING, track, subject, roi)

    def means(
        self, track: Track, blocks: Iterable[tuple[str, str]], clips: Any = slice(None)
    ) -> tuple[NDArray[np.float32], Columns]:
        """Means of many blocks (subject, ROI) for these clips, (n_clips, n_voxels), and whose column is whose.

        clips: positions among those of this part, none of them negative; a slice is of those that the subjects saw

        Raises as `trials`, and a FileError if there are no responses to some of the clips.
        """
        blocks = list(blocks)
        if not isinstance(clips, slice) and len(clips) and not 0 <= np.min(clips) <= np.max(clips) < self.n_stimuli:
            raise FileError(
                f"{self.folder}: responses to {self.n_stimuli} clips, and those at {np.min(clips)} to {np.max(clips)} "
                "are asked for: validation found another number of training clips; run `dvc repro conversion`"
            )
        return side_by_side((*block, self.mean(track, *block)[self._rows(block[0], clips)]) for block in blocks)

    def _rows(self, subject: str, clips: Any) -> Any:
        """Find the rows of a subject's arrays that are responses to these clips."""
        if isinstance(clips, slice) or subject not in self.seen:
            return clips
        own = self.seen[subject]
        rows = np.searchsorted(own, clips)
        if (len(clips) and not (rows < len(own)).all()) or not np.array_equal(own[rows], clips):
            raise FileError(
                f"{self.folder}: {subject} did not see all of the {len(clips)} stimuli that are asked for; "
                "run `dvc repro conversion`"
            )
        return rows

    def voxel_mask(self, subject: str) -> NDArray[np.bool_] | None:
        """Volume: where the whole-brain columns lie, in C order; None without the full track."""
        entry = self.entries.get(("full", subject, WHOLE_BRAIN))
        if entry is None or MASK not in entry["arrays"]:
            return None
        return np.array(self._array(MASK, "full", subject, WHOLE_BRAIN))

    def _array(self, name: str, track: Track, subject: str, roi: str) -> NDArray[Any]:
        if (track, subject, roi) not in self.entries:
            there = ", ".join(f"{s} {r}" for t, s, r in self.entries if t == track) or "none"
            raise FileError(
                f"{self.folder}: no responses of {subject} {roi} in the {track} track; of it there are {there}; run "
                "`dvc repro conversion`"
            )
        known = self.entries[track, subject, roi]["arrays"].get(name)
        if known is None:
            raise FileError(f"{self.folder}: no {name} of {subject} {roi}; run `dvc repro conversion`")
        return io.read_array(self.folder / known["file"], known["shape"], AXES[name])


def read(folder: Path) -> Converted:
    """Open what `conversion` wrote.

    Raises
    ------
    FileError
        The manifest is missing or broken, or does not say of which data set it is.
    """
    content = io.read_json(folder / MANIFEST)
    try:
        study = Study(**content["study"])
    except (KeyError, TypeError):
        told = "does not say of which data set the responses are; run `dvc repro -f -s conversion`"
        raise FileError(f"{folder / MANIFEST}: {told}") from None
    seen, tested = (
        {subject: np.array(rows, dtype=np.intp) for subject, rows in content.get(name, {}).items()}
        for name in ("seen", "seen_in_test")
    )
    entries = {(e["track"], e["subject"], e["roi"]): e for e in content["responses"]}
    return Converted(folder, entries, study, seen, tested, content.get("n_stimuli"))


def measured(
    train: Converted, test: Converted, track: Track, columns: Columns, split: str, clips: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Mean responses of these blocks to the clips of a split, (n_clips, n_voxels).

    clips: positions among all clips; those of the split `test` are read from the test responses, others from training

    Raises
    ------
    FileError
        Responses are missing.
    """
    blocks = [(block.subject, block.roi) for block in columns.blocks]
    part, first = (test, train.n_stimuli) if split == "test" else (train, 0)
    responses, _ = part.means(track, blocks, clips - first)
    return responses
