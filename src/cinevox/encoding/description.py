"""The description of an encoding model, from the files of its row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.encoding.about import About, FrameSettings, MadeFrom, Region, Source, SpaceInput, StoredGrid
from cinevox.encoding.model import Floats
from cinevox.measured import response_store
from cinevox.measured.datasets import open_dataset
from cinevox.measured.response_store import Study
from cinevox.measured.responses import Columns
from cinevox.measured.voxel_positions import fingerprints, locate
from cinevox.project import identity, plugins
from cinevox.project.params import WHOLE_BRAIN, Base, FeatureMap, Params, Row
from cinevox.project.paths import Paths
from cinevox.statistics.significance import false_discovery_rate

UNITS = {  # whether it is a row of transfer networks
    True: "standard deviations of the training responses; training leaves their scale free, so compare clips, not ROIs",
    False: "the units of the data set's responses",
}


def sources(
    params: Params,
    row: Row,
    sidecars: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, Mapping[str, SpaceInput]],
) -> list[Source]:
    """List the networks that a clip goes through, with their settings.

    params: has the sections networks, frames, features and bases
    sidecars: network -> its features.json, or that of its base
    inputs: network -> the model's inputs that come from it; a network without one is left out
    """
    return [
        Source(
            network=network,
            title=sidecars[network]["title"],
            settings=params.networks[network],
            weights=sidecars[network]["weights"],
            images=sidecars[network]["images"],
            configuration=sidecars[network].get("configuration", {}),
            frames=FrameSettings(
                count=sidecars[network]["n_frames"],
                size=sidecars[network]["frame_size"][0],
                resize=params.frames.resize,
            ),
            features=params.features.model_copy(update={"device": "auto"}),  # it may be used on another machine
            base=None if row.base is None else params.bases[row.base],
            inputs=dict(given),
        )
        for network, given in inputs.items()
    ]


def inputs_of_spaces(
    given: Mapping[str, Floats], maps: Mapping[str, tuple[str, FeatureMap]]
) -> dict[str, dict[str, SpaceInput]]:
    """Network -> the inputs of a fitted model that come from it.

    given: space -> what the fit was given, (n_clips, ...); maps: space -> its network, and what it is made from
    """
    found: dict[str, dict[str, SpaceInput]] = {}
    for space, values in given.items():
        network, made_from = maps[space]
        found.setdefault(network, {})[space] = SpaceInput(map=made_from, shape=[math.prod(values.shape[1:])])
    return found


def inputs_of_base(base: Base, sidecar: Mapping[str, Any]) -> dict[str, dict[str, SpaceInput]]:
    """Network -> the input of transfer networks: every frame of the base's one layer. sidecar: the base's record"""
    [layer] = sidecar["layers"]
    every_frame = FeatureMap(layer["name"], "none", "none")
    shape = [sidecar["n_frames"], layer["n_features"]]
    return {base.network: {layer["name"]: SpaceInput(map=every_frame, shape=shape)}}


def scored(selected: Mapping[str, NDArray[Any]], split: str, columns: Columns) -> dict[str, NDArray[np.float32]]:
    """Return every voxel's correlation, normalized (if there is a ceiling) and q (false discovery rate) on a split."""
    q = np.empty(columns.n_voxels, dtype=np.float32)
    for _, where in columns.by_subject:
        q[where] = false_discovery_rate(selected[f"{split}.p"][where])
    names = [name for name in ("correlation", "normalized") if f"{split}.{name}" in selected]
    return {name: selected[f"{split}.{name}"] for name in names} | {"q": q}


def regions(
    columns: Columns, voxels: Mapping[str, NDArray[Any]], ceiling: Floats | None, predicted: Sequence[Floats]
) -> Iterator[Region]:
    """Every ROI of every subject.

    voxels: as `scored`; ceiling: (n_voxels,), or None; predicted: responses to the clips whose predictions are the
        usual range, of each cohort (n_clips, n_voxels)
    """
    known = np.isfinite(voxels["correlation" if ceiling is None else "normalized"])
    means = {"normalized_correlation": voxels.get("normalized"), "correlation": voxels["correlation"]}
    means |= {"ceiling": ceiling}
    ends = np.cumsum([values.shape[1] for values in predicted])
    for block, where in zip(columns.blocks, columns.slices):
        cohort = int(np.searchsorted(ends, where.start, side="right"))
        first = ends[cohort] - predicted[cohort].shape[1]
        own = predicted[cohort][:, where.start - first : where.stop - first]
        low, median, high = np.percentile(own.mean(axis=1), (5, 50, 95))
        inside = known[where]
        over = {
            name: None if values is None or not inside.any() else float(values[where][inside].mean(dtype=np.float64))
            for name, values in means.items()
        }
        usual = {"low": float(low), "median": float(median), "high": float(high)}
        yield Region(**vars(block), n_scored=int(inside.sum()), **usual, **over)


def places(
    paths: Paths, params: Params, row: Row, columns: Columns
) -> tuple[StoredGrid | None, dict[str, NDArray[np.int32]]]:
    """The volume, and each voxel's position in it (flat, in C order), -1 where it is not known.

    ROIs are found among the whole brain's voxels by their responses, where the data set has both. Nothing at all
    where the data set does not say where voxels lie.
    """
    dataset, responses = open_dataset(params.dataset), response_store.read(paths.conversion("train"))
    masks = [responses.voxel_mask(subject) for subject in columns.subjects]
    flat = [np.flatnonzero(mask).astype(np.int32) for mask in masks if mask is not None]
    if dataset.grid is None or len(flat) < len(masks) or not (row.track == "full" or dataset.places_rois):
        return None, {}
    grid = StoredGrid(shape=dataset.grid.shape, affine=dataset.grid.affine, space=dataset.grid.space)
    if row.track == "full":
        return grid, {"place": np.concatenate(flat)}
    found = []
    for where, (own, _) in zip(flat, columns.by_subject):
        subject = own.subjects[0]
        among = fingerprints(responses.trials("full", subject, WHOLE_BRAIN).values)
        for block in own.blocks:
            position = locate(fingerprints(responses.trials("mini", subject, block.roi).values), among)
            found.append(np.where(position < 0, np.int32(-1), where[position]))
    return grid, {"place": np.concatenate(found)}


def made(paths: Paths, params: Params, sections: Sequence[str]) -> MadeFrom:
    """Code, parameters (of these sections) and data of this run."""
    commit = identity.commit(paths.root)
    return MadeFrom(
        commit=commit and commit.sha,
        dirty=commit is not None and commit.dirty,
        params_hash=identity.params_hash(params, sections),
        data_hash=identity.data_hash(identity.read_lock(paths), params.dataset.folder),
    )


def describe(params: Params, row: Row, study: Study, **found: Any) -> About:
    """All of it. params: has the section dataset; study: of the responses; found: the other fields of About, by name"""
    transfer, dataset = row.is_transfer, plugins.load("datasets", params.dataset.name).at(params.dataset.folder)
    return About(
        row=row.name,
        track=row.track,
        features=row.way,
        regressor=row.regressor,
        fitted_on=["train"] if transfer else ["train", "validation"],
        units=UNITS[transfer],
        dataset=study.title,
        restricted=dataset.restricted,
        in_silico=study.in_silico,
        stimuli=study.stimuli,
        **found,
    )
