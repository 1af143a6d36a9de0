"""Networks: each has its weights and gives what is asked of it, found before any long work by the stages' own calls.

Layers and shapes are found with random weights, so that nothing large is read, and nothing is downloaded. Networks that
can't be loaded are left to `check_plugins`, which says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING

from cinevox import simulation
from cinevox.errors import InputError
from cinevox.fitting import feature_spaces, fits
from cinevox.measured.datasets import open_dataset
from cinevox.project.params import (
    Base,
    FeatureMap,
    Features,
    FeatureSpace,
    JointRow,
    Network,
    Params,
    VoxelwiseRow,
    maps,
)
from cinevox.project.paths import Paths
from cinevox.project.stage_instances import spaces_on
from cinevox.stimuli.networks import spec_of

if TYPE_CHECKING:
    from cinevox.stimuli.features import Extraction


def extraction(name: str, params: Params, entry: str | None = None) -> Extraction:
    """What the stage features takes of a network, with random weights.

    entry: of params.spaces, whose maps are taken and nothing else; by default all that is asked of the network

    Raises
    ------
    InputError
        As `features.prepare`.
    """
    network, asked = params.networks[name], spaces_on(params, name)
    own = [FeatureSpace.from_json(space) for space in asked.get("spaces", {}).values()]
    layers: tuple[str, ...] | None = None if asked.get("layers", True) else ()
    if entry is not None:
        own, layers = list(params.named(entry).values()), ()
    shape = (network.n_frames, params.frames.size, params.frames.size, 3)
    return _prepared(name, _untrained(network), params.features, shape, layers, maps(own))


@functools.cache  # for faults, then for sizes
def _prepared(
    name: str,
    network: Network,
    settings: Features,
    shape: tuple[int, ...],
    layers: tuple[str, ...] | None,
    own: tuple[FeatureMap, ...],
) -> Extraction:
    from cinevox.stimuli import features

    return features.prepare(name, network, settings, shape, layers, own)


def base_extraction(base: Base, params: Params) -> Extraction:
    """What the stage bases takes of a network, with random weights.

    Raises
    ------
    InputError
        As `bases.prepare`.
    """
    from cinevox.stimuli import bases

    shape = (base.n_frames, params.frames.size, params.frames.size, 3)
    return bases.prepare(base, _untrained(params.networks[base.network]), params.features, shape)


def check_extractions(_: Paths, params: Params) -> None:
    """Every network gives its layers, and the maps that named spaces are made from.

    Raises
    ------
    InputError
        One or more do not; the message has all of them.
    """
    faults: list[str] = []
    for name in (name for name, network in _known(params).items() if network.model != "array"):
        if whole := list(_faults(extraction, name, params)):
            entries = [key for key, entry in params.spaces.items() if entry.network == name]
            own = [f"spaces.{key}: {fault}" for key in entries for fault in _faults(extraction, name, params, key)]
            faults += own or whole
    _refuse(faults)


def check_brought(paths: Paths, params: Params) -> None:
    """Files of brought features have the arrays that named spaces are made from, and an id for every clip.

    Raises
    ------
    InputError
        One or more have not; the message has all of them. A data set that can't be opened is left to its own check.
    """
    from cinevox.stimuli import brought_features

    brought = {name: network for name, network in _known(params).items() if network.model == "array"}
    clips = _clips(paths, params) if brought else []
    faults: list[str] = []
    for name, network in brought.items():
        own = maps(space for space in params.feature_spaces.values() if space.network == name)
        faults += _faults(brought_features.require, name, network, clips, own)
    _refuse(faults)


def check_rows(params: Params) -> None:
    """The regressor of every row can take as many features as its spaces have. To be called when nothing else is wrong.

    Raises
    ------
    InputError
        One or more can't; the message has all of them, with the cure.
    """
    faults: list[str] = []
    for name, row in params.experiments.rows.items():
        if isinstance(row, JointRow):
            spaces = params.spaces_of(row)
            candidates = feature_spaces.joint_candidates(spaces, row.together, row.fixed)
            sizes = {key: _n_features(params, space) for key, space in spaces.items()}
        elif isinstance(row, VoxelwiseRow):
            layers = spec_of(row.network, params.networks[row.network]).layers
            candidates = feature_spaces.candidates(row.features, layers)
            n_components = None if candidates[0].raw else params.reduction.n_components
            over_frames = params.features.over_frames
            sizes = {
                layer: _n_features(params, FeatureSpace(row.network, layer, "none", over_frames, False, n_components))
                for layer in layers
            }
        else:
            continue
        method = fits.Method.of(row.regressor, params)
        faults += (f"row {name}: {fault}" for fault in _faults(fits.check_sizes, candidates, sizes, method))
    _refuse(faults)


def _n_features(params: Params, space: FeatureSpace) -> int:
    """The number of features of a space; with a PCA at most."""
    if space.n_components is not None:
        return space.n_components
    if params.networks[space.network].model == "array":
        from cinevox.stimuli import brought_features

        return brought_features.layers(space.network, params.networks[space.network])[space.layer]
    taken = extraction(space.network, params)
    [name] = (name for name, found in taken.outputs.items() if found == space.map)
    return prod(taken.shape(name, 1))


def check_weights(paths: Paths, params: Params) -> list[str]:
    """The weights that are still needed are there and fit their networks; returns a sentence about each to be fetched.

    Where features and bases were made already, weights are looked at only where the file is the user's own.

    Raises
    ------
    InputError
        Weights are missing, damaged or of another network; the message has all faults.
    """
    from cinevox.stimuli.networks import _loading, _weights

    bases = {base.network for name, base in params.bases.items() if not paths.base(name).is_dir()}
    notes: list[str] = []
    faults: list[str] = []

    def check(name: str, network: Network) -> None:
        spec = spec_of(name, network)
        found = _weights.locate(name, spec, network)
        if network.weights == "file":  # the others are known by their checksums
            _loading.checked(name, spec, _loading.skeleton(spec), found)

    for name, network in _known(params).items():
        is_needed = network.weights == "file" or name in bases or not paths.features(name).is_dir()
        if network.model == "array" or not is_needed:
            continue
        if found := _weights.to_download(spec_of(name, network), network.weights):
            notes.append(f"networks.{name}: {found}")
        else:
            faults += _faults(check, name, network)
    _refuse(faults)
    return notes


def check_simulation(paths: Paths, params: Params) -> list[str]:
    """Simulated voxels can listen to what their generators name; returns a sentence about weights to be fetched.

    Raises
    ------
    InputError
        As `simulation.prepare`.
    """
    from cinevox.stimuli.networks import _weights

    settings = params.simulation
    network = simulation.network_of(settings) if settings.datasets else None
    if network is None:
        return []
    simulation.prepare(settings.model_copy(update={"weights": "random"}))
    if all(paths.simulation(name).is_dir() for name in settings.datasets):
        return []
    spec = spec_of(settings.network, network)
    if found := _weights.to_download(spec, network.weights):
        return [f"simulation.network {settings.network}: {found}"]
    _weights.locate(settings.network, spec, network)
    return []


def _known(params: Params) -> dict[str, Network]:
    """The networks that can be loaded."""
    return {name: network for name, network in params.networks.items() if not list(_faults(spec_of, name, network))}


def _clips(paths: Paths, params: Params) -> list[str]:
    """Names of the clips that the run will have; none where the data set can't be opened."""
    wanted, settings = params.dataset, params.simulation
    if wanted.folder in map(paths.simulation, settings.datasets):
        return simulation.clip_names(settings)
    try:
        return [clip.name for clip in open_dataset(wanted).clips]
    except InputError:
        return []


def _untrained(network: Network) -> Network:
    return network if network.weights == "none" else network.model_copy(update={"weights": "random"})


def _faults(check: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        check(*arguments)
    except InputError as error:
        yield str(error)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise InputError("\n".join(faults))
