"""Selection: which feature space stands for which ROI, and what the row scores with that choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.aggregation import AGGREGATIONS, block_weights, interval, weighted
from cinevox.errors import InputError


def choose(rois: pd.DataFrame, policy: str, published: Mapping[str, str]) -> dict[str, str]:
    """The feature space of each ROI.

    validation: the highest normalized correlation on the validation clips, mean over subjects; the earlier
        layer on a tie. one_standard_error: the earliest whose score is no more than one standard error (over clips,
        of the best one's score) below that. paper: the layer the network's spec names for the ROI.

    rois: the score table with columns space, split, roi, aggregation, normalized_correlation, standard_error; spaces
        in order
    published: ROI -> layer

    Raises
    ------
    InputError
        An ROI has no scored voxel, or the published layer is not among the candidates.
    """
    names = list(dict.fromkeys(rois["roi"]))
    spaces = list(dict.fromkeys(rois["space"]))
    if len(spaces) == 1:
        return dict.fromkeys(names, spaces[0])
    if policy == "paper":
        wrong = [f"{roi} wants {published.get(roi)}" for roi in names if published.get(roi) not in spaces]
        if wrong:
            raise InputError(
                f"selection.policy is paper, but {'; '.join(wrong)}, and the candidates are {', '.join(spaces)}; "
                "use the policy validation for this row, or features: layer"
            )
        return {roi: published[roi] for roi in names}
    seen = rois[(rois["split"] == "validation") & (rois["aggregation"] == "subjects")]
    table = seen.pivot(index="space", columns="roi", values="normalized_correlation").loc[spaces, names]
    hopeless = table.columns[table.isna().all()]
    if len(hopeless):
        raise InputError(
            f"no voxel of {', '.join(hopeless)} reaches ceiling.min_reliability, so no layer can be chosen; "
            "lower it, or use ceiling.policy: floor"
        )
    best = {roi: str(table[roi].idxmax()) for roi in names}
    if policy == "validation":
        return best
    error = seen.set_index(["roi", "space"])["standard_error"]
    enough = {roi: table.loc[space, roi] - error.loc[roi, space] for roi, space in best.items()}
    return {roi: str(table.index[table[roi] >= enough[roi]][0]) for roi in names}


def selected_scores(
    chosen: Mapping[str, str],
    blocks: pd.DataFrame,
    rois: pd.DataFrame,
    replicates: Mapping[str, NDArray[np.floating]],
    confidence: float,
) -> dict[str, Any]:
    """What the row scores on one split with the chosen spaces.

    The track's score is the unweighted mean over ROIs of the ROI's mean over subjects of the mean over
    voxels; `pooled_score` pools the voxels of all subjects within an ROI instead. Intervals resample the
    same clips for every ROI, so the track's interval holds their covariance.

    blocks, rois: the score tables of this split; replicates: space -> (n_resamples, n_blocks)
    """
    columns = {space: part.reset_index(drop=True) for space, part in blocks.groupby("space", sort=False)}
    drawn, detail = [], {}
    for roi, space in chosen.items():
        line = rois[(rois["roi"] == roi) & (rois["space"] == space)].set_index("aggregation")
        weights = block_weights(columns[space], roi, "subjects")
        drawn.append(weighted(replicates[space], weights))
        keys = ["normalized_correlation", "correlation", "standard_error", "low", "high"]
        detail[roi] = (
            {"space": space}
            | {key: float(line.loc["subjects", key]) for key in keys}
            | {"pooled": float(line.loc["voxels", "normalized_correlation"])}
            | {key: int(line.loc["subjects", key]) for key in ("n_voxels", "n_excluded", "n_constant")}
        )
    means = {
        name: float(np.mean([entry[key] for entry in detail.values()]))
        for name, key in zip(AGGREGATIONS, ("normalized_correlation", "pooled"))
    }
    return {
        "score": means["subjects"],
        **interval(np.mean(drawn, axis=0), confidence),
        "pooled_score": means["voxels"],
        "correlation": float(np.mean([entry["correlation"] for entry in detail.values()])),
        "rois": detail,
        "subjects": _by_subject(chosen, columns),
    }


def _by_subject(chosen: Mapping[str, str], columns: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    table = pd.concat(
        [columns[space][columns[space]["roi"] == roi] for roi, space in chosen.items()], ignore_index=True
    )
    return {
        str(subject): {
            "score": float(part["normalized_correlation"].mean()),
            "rois": dict(zip(part["roi"], part["normalized_correlation"].astype(float))),
        }
        for subject, part in table.groupby("subject", sort=False)
    }


def headline(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The few numbers of a row that are compared between versions: metrics/<row>.json.

    The best evidence there is comes in full (test if there is one, else validation), the other as its score.
    """
    best = "test" if "test" in scores else "validation"
    full = scores[best]
    rois = {roi: entry["normalized_correlation"] for roi, entry in full["rois"].items()}
    others = {name: {"score": part["score"]} for name, part in scores.items() if name != best}
    whole = {key: full[key] for key in ("score", "low", "high", "pooled_score", "correlation")}
    return {best: whole | rois} | others
