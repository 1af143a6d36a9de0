"""Videos in, responses out: frames and features are made as when the model was fitted.

A clip of any length, size and frame rate is taken: the same number of frames, spread evenly from its first to its
last, each resized as the stage frames does. So a longer clip is seen more sparsely, not for longer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray

from cinevox.encoding import decoding
from cinevox.encoding.about import FrameSettings, Source
from cinevox.encoding.decoding import Until
from cinevox.encoding.model import EncodingModel, Floats
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.project.params import Network
from cinevox.stimuli import bases, features
from cinevox.stimuli.frames import Clip, FramesError
from cinevox.stimuli.videos import SUFFIXES, Limits

CLIPS_AT_ONCE = 16


@dataclass(frozen=True)
class Predicted:
    """Some clips. paths, clips: those that could be read; responses: (n_clips, n_voxels); faults: of the others"""

    paths: tuple[Path, ...]
    clips: tuple[Clip, ...]
    responses: NDArray[np.float32]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Predictor:
    """An encoding model with the networks in front of it.

    weights: network -> its file, where it is not to be had as the parameters said
    """

    encoding: EncodingModel
    weights: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def extractions(self) -> tuple[features.Extraction, ...]:
        """The networks, found and checked, in the order of `About.sources`.

        Raises
        ------
        InputError
            Weights are not to be had, or are others than those that the model was fitted with; `weights` names a
            network that is not in front of this model, or one that has no weights to be read.
        """
        about = self.encoding.about
        if unknown := {*self.weights} - {source.network for source in about.sources}:
            known = ", ".join(source.network for source in about.sources)
            raise InputError(f"{about.row}: no network {', '.join(sorted(unknown))}; expected weights of {known}")
        return tuple(self._extraction(source) for source in about.sources)

    def _extraction(self, source: Source) -> features.Extraction:
        settings, sha256 = source.settings, source.weights["sha256"]
        if (file := self.weights.get(source.network)) is not None:
            if not sha256:
                raise InputError(f"{source.network}: it was used with {settings.weights} weights; give it no file")
            settings = Network(weights="file", file=file, sha256=sha256, n_frames=1, seed=0, model=settings.model)
        shape = (source.frames.count, source.frames.size, source.frames.size, 3)
        if source.base is not None:
            found = bases.prepare(source.base, settings, source.features, shape)
        else:
            maps = dict.fromkeys(given.map for given in source.inputs.values())
            found = features.prepare(source.network, settings, source.features, shape, (), tuple(maps))
        if found.weights.sha256 != sha256:
            raise InputError(
                f"{source.network}: its weights have sha256 {found.weights.sha256[:16]}..., and the model was fitted "
                f"with {sha256[:16]}...; run `dvc repro encoding@{self.encoding.about.row}`"
            )
        if differences := source.differences(found.to_json()):
            made_by = f"features@{source.network}" if source.base is None else f"bases@{source.base.name}"
            raise InputError(
                f"{source.network} is another network than the model was fitted with: {'; '.join(differences)}. Give "
                f"it the files of then, or run `dvc repro encoding@{self.encoding.about.row}` (after an upgrade of "
                f"packages first `dvc repro -f -s {made_by}`)"
            )
        return found

    @cached_property
    def _readers(self) -> tuple[features.Readers, ...]:
        return tuple(features.Readers(extraction) for extraction in self.extractions)

    def features(self, frames: Mapping[FrameSettings, NDArray[np.uint8]]) -> dict[str, Floats]:
        """The model's input. frames: (n_clips, n_frames, height, width, 3) of each of `About.frames`"""
        maps: dict[str, Floats] = {}
        for source, readers in zip(self.encoding.about.sources, self._readers):
            found = features.extract(readers.extraction, frames[source.frames], readers)
            names = {taken: name for name, taken in readers.extraction.outputs.items()}
            maps |= {space: found[names[given.map]] for space, given in source.inputs.items()}
        return self.encoding.model.reduced(maps)

    def _predicted(self, read: Sequence[tuple[NDArray[np.uint8], ...]]) -> NDArray[np.float32]:
        """Responses to clips of which frames were read, (n_clips, n_voxels)."""
        frames = {wanted: np.stack(found) for wanted, found in zip(self.encoding.about.frames, zip(*read))}
        return self.encoding.predict(self.features(frames))

    def __call__(self, clips: Sequence[Path]) -> Iterator[Predicted]:
        """Responses to video files, some clips at a time, in order.

        They are decoded by as many child processes as the caller has workers.
        """
        wanted, n_jobs = self.encoding.about.frames, effective_n_jobs(None)
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            group = clips[start : start + CLIPS_AT_ONCE]
            step = -(-len(group) // n_jobs)
            parts = [group[first : first + step] for first in range(0, len(group), step)]
            decoded = Parallel(backend="threading")(
                delayed(decoding.read)(part, wanted, None, Until()) for part in parts
            )
            found = [one for part in decoded for one in part]
            read = [(path, *part) for path, part in zip(group, found) if not isinstance(part, str)]
            responses = np.empty((0, self.encoding.about.columns.n_voxels), dtype=np.float32)
            if read:
                responses = self._predicted([frames for _, frames, _ in read])
            yield Predicted(
                tuple(path for path, _, _ in read),
                tuple(clip for _, _, clip in read),
                responses,
                tuple(part for part in found if isinstance(part, str)),
            )

    def of_bytes(
        self, contents: Sequence[bytes], limits: Limits, until: Until | None = None
    ) -> tuple[NDArray[np.float32], list[Clip]]:
        """Responses to mp4 files given by their content, (n_clips, n_voxels), and what was found in each.

        limits: what a stranger's may ask for
        until: when the work ends, done or not

        Raises
        ------
        FramesError
            Some can't be decoded or are beyond the limits, all of them in one message.
        TimeUpError
            `until` is over.
        """
        until = until or Until()
        n_bytes = sum(map(len, contents))
        if len(contents) > 1 and n_bytes > limits.megabytes * 1e6:
            raise FramesError(
                f"{n_bytes / 1e6:,.1f} MB of clips together; at most {limits.megabytes:g} MB are taken; send fewer or "
                "smaller ones"
            )
        with tempfile.TemporaryDirectory(prefix="cinevox-") as folder:
            paths = [Path(folder) / f"clip-{number}.mp4" for number in range(1, len(contents) + 1)]
            for path, content in zip(paths, contents):
                path.write_bytes(content)
            found = decoding.read(paths, self.encoding.about.frames, limits, until)
        if faults := [part.replace(f"{folder}/", "") for part in found if isinstance(part, str)]:
            raise FramesError("\n".join(faults))
        read = [part for part in found if not isinstance(part, str)]
        step, responses = min(extraction.clips_per_batch for extraction in self.extractions), []
        for start in range(0, len(read), step):
            until.check()
            responses.append(self._predicted([frames for frames, _ in read[start : start + step]]))
        return np.concatenate(responses), [clip for _, clip in read]


def found_in(given: Sequence[Path]) -> list[Path]:
    """The clips among these files and in these folders, each folder's by name; what is given twice once.

    Raises
    ------
    InputError
        One does not exist, a folder holds no video, a clip has no name of its own, or two have the same, all of them in
        one message.
    """
    clips: list[Path] = []
    faults = []
    for path in given:
        inside = io.files(path, SUFFIXES) if path.is_dir() else [path]
        if not path.exists():
            faults.append(f"{path}: no such file or folder")
        elif not inside:
            faults.append(f"{path}: no video in it; expected files that end in {', '.join(SUFFIXES)}")
        else:
            clips += inside
    named: dict[str, Path] = {}
    for path in clips:
        if path.stem in (".", ".."):
            faults.append(f"{path}: results would lie in the folder {path.stem!r}; give it a name before the last dot")
        other = named.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            faults.append(f"{other} and {path} have the same name, and results lie under it; rename one")
    if faults:
        raise InputError("\n".join(faults))
    return list(named.values())
