"""The one place that decides what may be said of a result; every outlet asks here.

Three questions: are its data the challenge's (`foreign`), can its score stand beside the paper's (`doubts`), and is it
of the data and the parameters that params.yaml has now (`other_data`, `other_parameters`)?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cinevox import lock, plugins
from cinevox.params import MINI_ROIS, WHOLE_BRAIN, Dataset, RoiwiseRow, Row, text
from cinevox.paths import Paths
from cinevox.provenance import Origin, origin_of
from cinevox.results import Result


@dataclass(frozen=True)
class Challenge:
    """The data that the paper and the leaderboard report scores of (Cichy et al. 2021, arXiv:2104.13714)."""

    dataset: str = "algonauts2021"
    subjects: tuple[str, ...] = tuple(f"sub{number:02d}" for number in range(1, 11))
    rois: tuple[str, ...] = MINI_ROIS
    n_train_clips: int = 1000
    n_test_clips: int = 102


CHALLENGE = Challenge()
UNRELATED = {"validation", "storage", "parallel", "report", "submission", "encoding", "gate", "tracking"}
"""Sections that no score follows from."""


def foreign(origin: Origin | None) -> tuple[str, ...]:
    """Why the data of a result are not the challenge's; empty where they are."""
    if origin is None:
        return ("data that were not recorded",)
    if origin.in_silico or origin.dataset != CHALLENGE.dataset:
        return ("in-silico data" if origin.in_silico else f"{origin.title} data",)
    rois = (WHOLE_BRAIN,) if WHOLE_BRAIN in origin.n_voxels else CHALLENGE.rois
    clips, expected = ((n.n_train_clips, n.n_test_clips) for n in (origin, CHALLENGE))
    found = [
        _of("subjects", origin.subjects.split(), CHALLENGE.subjects),
        _of("regions", origin.n_voxels, rois),
        "" if clips == expected else f"{clips[0]} + {clips[1]} clips, not {expected[0]} + {expected[1]}",
    ]
    return tuple(reason for reason in found if reason)


def _of(what: str, there: Any, expected: tuple[str, ...]) -> str:
    if set(there) == set(expected):
        return ""
    shared = len(set(there) & set(expected))
    return f"{shared} of the challenge's {len(expected)} {what}" if set(there) < set(expected) else f"other {what}"


def doubts(result: Result) -> Iterator[str]:
    """Why a row's score is not comparable with the paper's; nothing where it is."""
    yield from doubts_of(result.origin, result.split)
    if result.scores.get("chosen_here"):
        yield "chosen on the same clips"


def doubts_of(origin: Origin | None, split: str) -> Iterator[str]:
    """The same, of what a metrics file knows. split: of the scores that count"""
    yield from foreign(origin)
    if origin is not None and origin.untrained:
        yield "random weights"
    elif origin is not None and not origin.official:
        yield "weights other than the published ones"
    if split != "test":
        yield {"nested": "outer folds", "validation": "validation clips"}[split] + ", not the test clips"


def origin_at(stages: lock.Stages, params: Any, row: Row, metrics: Mapping[str, Any]) -> tuple[Origin, bool]:
    """The origin of a row's metrics, and whether it was recorded with them.

    Where an earlier version made them it is put together from what made the row, by dvc.lock, else by the parameters
    of now: enough for its marks, and too little to stand beside the paper's scores.

    params: has the sections dataset, simulation and networks
    """
    if (recorded := origin_of(metrics)) is not None:
        return recorded, True
    made = lock.made(stages, row.name)
    then: Mapping[str, Any] = {} if made is None else made.params
    name = then.get("dataset.name", params.dataset.name)
    known = name in plugins.names("cinevox.datasets")
    spec = plugins.load("cinevox.datasets", name) if known else None
    simulated = then.get("simulation.datasets", params.simulation.datasets)
    subjects = then.get("dataset.subjects", params.dataset.subjects)
    rois = then.get("dataset.rois", params.dataset.rois) if row.track == "mini" else (WHOLE_BRAIN,)
    policy = then.get(f"networks.{row.network}.weights", params.networks[row.network].weights)
    return Origin(
        dataset=name,
        title=spec.title if spec else name,
        in_silico=name in simulated or bool(spec and spec.simulated),
        subjects=" ".join(subjects),
        n_train_clips=0,
        n_test_clips=0,
        n_voxels=dict.fromkeys(rois, 0),
        weights=policy,
        official=False,
    ), False


def other_data(origin: Origin | None, dataset: Dataset, row: Row) -> str:
    """How the data of a row's result differ from those that params.dataset asks for now; empty where they don't."""
    if origin is None:
        return ""
    if origin.dataset != dataset.name:
        return f"made from {origin.title} data ({origin.dataset}), and dataset.name is {dataset.name} now"
    rois = list(dataset.track_rois(row.track))
    for name, then, now in (
        ("subjects", origin.subjects.split(), dataset.subjects),
        ("rois", list(origin.n_voxels), rois),
    ):
        if set(then) != set(now):
            return f"made from {' '.join(then)}, and dataset.{name} is {' '.join(now)} now"
    return ""


def other_parameters(paths: Paths, stages: lock.Stages, rows: Mapping[str, Row]) -> dict[str, tuple[str, ...]]:
    """Row -> parameters that made its result and have another value in params.yaml now; none where DVC did not run it.

    A file or folder of the workspace that was made again, without what follows from it, is named too.

    stages: of dvc.lock
    """
    now = text.read(paths.params.read_text()) if stages else {}
    found: dict[str, tuple[str, ...]] = {}
    for name, row in rows.items():
        made = lock.made(stages, name)
        differing = [] if made is None else [leaf for leaf in lock.differing(made, now) if _concerns(leaf, row)]
        broken = [made.broken] if made is not None and made.broken else []
        found[name] = (*differing, *broken)
    return found


def _concerns(leaf: str, row: Row) -> bool:
    """Whether a score of the row follows from this leaf of the parameters."""
    section, _, rest = leaf.partition(".")
    own = {
        "networks": row.network,
        "regressors": row.regressor,
        "heads": row.regressor,
        "bases": row.base if isinstance(row, RoiwiseRow) else None,
    }
    if section in own:
        return rest.partition(".")[0] == own[section]
    if section == "experiments":
        return row.name in rest.split(".") and not rest.endswith(".reported")
    return section not in UNRELATED
