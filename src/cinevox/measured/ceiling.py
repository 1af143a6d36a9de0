"""The noise ceiling's raw material: how reliable each voxel's mean response is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import joblib
import numpy as np
from numpy.typing import NDArray

from cinevox.measured.responses import Block, Columns, Responses
from cinevox.statistics.metrics import split_half_reliability
from cinevox.statistics.trials import present

Read = Callable[[str, str], tuple[Responses, Responses | None]]


@dataclass(frozen=True)
class Reliability:
    """Reliability of every voxel of a track, one block per subject and ROI.

    by_split: split name -> (n_voxels,). `validation`: of the mean over the training repetitions, on all
        training clips (the validation clips alone are too few); `test`: of the mean over the test
        repetitions, on the test clips, as the challenge does. A split is absent where there are no responses, and
        where clips were shown once: then nothing says how reliable the responses are
    n_repetitions: split name -> repetitions averaged, of every split with responses
    """

    columns: Columns
    by_split: dict[str, NDArray[np.float64]]
    n_repetitions: dict[str, int]


def reliability(read: Read, blocks: Sequence[tuple[str, str]]) -> Reliability:
    """Split-half reliability of every subject's ROIs, worker by worker.

    blocks: subject, ROI
    read: (subject, roi) -> training responses, and test responses or None
    """
    parts = joblib.Parallel()(joblib.delayed(_of_block)(read, subject, roi) for subject, roi in blocks)
    columns = Columns(tuple(block for block, _, _ in parts))
    splits = [name for name in ("validation", "test") if all(name in shown for _, _, shown in parts)]
    repeated = [name for name in splits if all(name in found for _, found, _ in parts)]
    return Reliability(
        columns,
        {name: np.concatenate([found[name] for _, found, _ in parts]) for name in repeated},
        {name: min(shown[name] for _, _, shown in parts) for name in splits},
    )


def _of_block(read: Read, subject: str, roi: str) -> tuple[Block, dict[str, NDArray[np.float64]], dict[str, int]]:
    train, test = read(subject, roi)
    given = {"validation": train} | ({"test": test} if test is not None else {})
    return (
        Block(subject, roi, train.n_voxels),
        {name: split_half_reliability(part.values) for name, part in given.items() if _is_repeated(part)},
        {name: part.values.shape[1] for name, part in given.items()},
    )


def _is_repeated(shown: Responses) -> bool:
    return bool(np.count_nonzero(present(shown.values).sum(axis=1) > 1) > 1)
