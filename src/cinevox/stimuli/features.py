"""Features: what the layers of a network do while clips play, one matrix per layer.

Frames pass a network in batches that depend on the sizes only, each with one CPU thread, so the numbers are
the same bits for any number of workers and however often a run was killed and taken up again.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cinevox.files import disk, io
from cinevox.stimuli.networks import _activations, _loading
from cinevox.stimuli.networks._extraction import Extraction, FeaturesError, Frames, prepare

__all__ = ["Extraction", "FeaturesError", "Readers", "extract", "prepare", "write"]

Activations = dict[str, NDArray[np.floating]]
Progress = Callable[[Iterable, int, str], Iterable]

FRAMES_PER_TASK = 64  # about what one worker does between two signs of life


def extract(extraction: Extraction, frames: Frames, readers: Readers | None = None) -> Activations:
    """Features of clips in memory: output -> array of `Extraction.shape`.

    frames: uint8, (n_clips, n_frames, height, width, 3), RGB
    readers: of this extraction, from a call before: the network is not built again

    Raises
    ------
    FeaturesError
        An activation is not finite, or too large for the storage type; names network, layer and clips.
    """
    _check_frames(extraction, frames)
    tasks = _tasks(extraction, range(len(frames)))
    names = [f"#{index}" for index in range(len(frames))]
    readers = readers or Readers(extraction)
    found = (delayed(_activations_of)(readers, frames[rows], names[rows]) for rows in tasks)
    gathered = list(_run(extraction, found, ordered=True))
    return {name: np.concatenate([part[name] for part in gathered]) for name in extraction.outputs}


def write(
    extraction: Extraction,
    frames: Frames,
    clips: Sequence[str],
    folder: Path,
    unfinished: Path,
    progress: Progress = lambda items, _total, _label: items,
) -> None:
    """Features of many clips into `folder`: one array `<name>.npy` of `Extraction.shape` for each output.

    Memory doesn't grow with the number of clips. Work in progress lies under `unfinished`, in a folder named by
    a digest of everything that matters: after a kill, the same call goes on with the clips that are not done.

    frames: uint8, (n_clips, n_frames, height, width, 3), RGB; best memory-mapped
    clips: their names, for messages
    progress: passes tasks through, given their number and a label

    Raises
    ------
    FeaturesError
        As `extract`. What was finished before stays and is not done again.
    DiskFullError
        There is no room for the layers; it is seen before any is computed.
    """
    _check_frames(extraction, frames)
    partial = unfinished / f"{extraction.network}-{extraction.digest(frames)}"
    done = _open_partial(extraction, len(frames), partial)
    tasks = _tasks(extraction, np.flatnonzero(done == 0))
    readers = Readers(extraction)
    written = (delayed(_write_task)(readers, frames[rows], rows, clips[rows], partial) for rows in tasks)
    results = _run(extraction, written, ordered=False)
    for _ in progress(results, len(tasks), extraction.network):
        pass
    folder.mkdir(parents=True, exist_ok=True)
    (partial / "done.npy").unlink()  # from here on a kill means starting anew: the arrays are no longer together
    for name in extraction.outputs:
        shutil.move(partial / f"{name}.npy", folder / f"{name}.npy")
    for leftover in unfinished.glob(f"{extraction.network}-*"):
        shutil.rmtree(leftover)


def _open_partial(extraction: Extraction, n_clips: int, partial: Path) -> NDArray[np.uint8]:
    """The arrays to fill and which clips are done, made anew unless a killed run left them."""
    marks = partial / "done.npy"
    if not marks.exists():
        partial.mkdir(parents=True, exist_ok=True)
        kind = extraction.settings.storage
        disk.allocate({partial / f"{name}.npy": (extraction.shape(name, n_clips), kind) for name in extraction.outputs})
        io.write_array(marks, np.zeros(n_clips, dtype=np.uint8))
    loaded: NDArray[np.uint8] = np.load(marks, allow_pickle=False)
    return loaded


def _write_task(readers: Readers, frames: Frames, rows: slice, clips: Sequence[str], partial: Path) -> None:
    activations = _activations_of(readers, frames, clips)
    for layer, values in activations.items():
        io.write_rows(partial / f"{layer}.npy", rows.start, values)
    io.write_rows(partial / "done.npy", rows.start, np.ones(len(clips), dtype=np.uint8))


def _run(extraction: Extraction, tasks: Iterable, ordered: bool) -> Iterator[Any]:
    """Over as many threads as the caller has workers on a CPU; one after another on a GPU, which is parallel itself.

    Threads, as a forward pass holds no lock: processes would each import torch and build the network first.
    """
    kind = "generator" if ordered else "generator_unordered"
    n_jobs = None if extraction.device == "cpu" else 1
    workers = Parallel(n_jobs=n_jobs, backend="threading", return_as=kind)
    results: Iterator[Any] = workers(tasks)
    return results


def _tasks(extraction: Extraction, clips: Iterable[int]) -> list[slice]:
    """Runs of consecutive batches that hold any of these clips. Batches start at the same clips in every run."""
    size = extraction.clips_per_batch
    batches_per_task = max(1, FRAMES_PER_TASK // (size * extraction.frame_shape[0]))
    step = size * batches_per_task
    return [slice(start, start + step) for start in sorted({int(clip) // step * step for clip in clips})]


def _activations_of(readers: Readers, frames: Frames, clips: Sequence[str]) -> Activations:
    """Features of one task's clips, in the storage type; refuses what is not finite in it."""
    extraction, reader = readers.extraction, readers.here()
    size = extraction.clips_per_batch
    batches = [reader(frames[start : start + size]) for start in range(0, len(frames), size)]
    stored, faults = {}, []
    for layer in extraction.outputs:
        values = [batch[layer][0] for batch in batches]
        stored[layer] = values[0] if len(values) == 1 else np.concatenate(values)
        bad = np.flatnonzero(~np.concatenate([batch[layer][1] for batch in batches]))
        if len(bad):
            faults.append(f"  {layer}: {', '.join(clips[int(index)] for index in bad)}")
    if faults:
        settings = extraction.settings
        raise FeaturesError(
            f"{extraction.network}: activations that are NaN or infinite, computed in {settings.compute} and kept in "
            f"{settings.storage}, in layer: clips\n" + "\n".join(faults) + "\n  Expected finite numbers: set "
            "features.compute and features.storage to float32, or check the weights"
        )
    return stored


class Readers:
    """A reader for each thread. The network is built once, when the first one is asked for, and shared."""

    def __init__(self, extraction: Extraction) -> None:
        self.extraction = extraction
        self._first: _activations.ActivationReader | None = None
        self._building = threading.Lock()
        self._of_thread = threading.local()

    def here(self) -> _activations.ActivationReader:
        if not hasattr(self._of_thread, "reader"):
            with self._building:
                self._first = self._first or self._build()
                self._of_thread.reader = self._first.twin()
        reader: _activations.ActivationReader = self._of_thread.reader
        return reader

    def _build(self) -> _activations.ActivationReader:
        extraction = self.extraction
        module = _loading.load(extraction.network, extraction.spec, extraction.weights)
        return _activations.ActivationReader(
            module, extraction.outputs, extraction.spec, extraction.settings, extraction.device
        )


def _check_frames(extraction: Extraction, frames: Frames) -> None:
    if frames.dtype != np.uint8 or tuple(frames.shape[1:]) != tuple(extraction.frame_shape):
        raise FeaturesError(
            f"{extraction.network}: frames are {frames.dtype} {frames.shape}, expected uint8 "
            f"(n_clips, n_frames, height, width, 3) with clips of {extraction.frame_shape}"
        )
