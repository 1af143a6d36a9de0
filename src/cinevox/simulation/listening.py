"""The parts of a network that simulated voxels listen to: its layers, and receptive fields in its maps."""

from __future__ import annotations

import shutil
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.project import plugins
from cinevox.project.params import FeatureMap, Features, Network, Simulation
from cinevox.project.params.generators import is_pooled, layer_and_pool
from cinevox.simulation import generators
from cinevox.simulation.receptive_fields import field_components
from cinevox.stimuli import frames
from cinevox.stimuli.networks import spec_of

if TYPE_CHECKING:
    from cinevox.stimuli.features import Extraction

MAP = 2  # the first word of a spawn key, as CLIP and SUBJECT are

# In full precision on the CPU whatever an analysis does: the truth does not depend on how it is looked for.
EXTRACTION = Features(
    over_frames="mean",
    batch_size=16,
    device="cpu",
    compute="float32",
    storage="float32",
    memory_format="channels_last",
)


@dataclass(frozen=True)
class Heard:
    """The parts of a network that the voxels listen to; empty where they listen to the clips alone.

    grams: layer -> its Gram matrix over the clips, (n_clips, n_clips), of all layers where a voxel listens to one
    fields: pooled map -> its components, (n_clips, n_fields, n_components), see `field_components`
    channels: pooled map -> which of its channels they are, (n_fields, n_components)
    weights: provenance of the network's weights
    """

    grams: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    fields: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    channels: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)


def prepare(settings: Simulation) -> Extraction | None:
    """The network as the voxels listen to it; None where none does.

    Raises
    ------
    InputError
        The network, its weights or a layer are not there, or a map is too small for its grid.
    """
    weights = network_of(settings)
    if weights is None:
        return None
    from cinevox.stimuli import features

    spec = spec_of(settings.network, weights)
    layers, maps = needed_layers(settings, spec.layers), pooled_maps(settings)
    shape = (settings.n_frames, spec.input_size, spec.input_size, 3)
    try:
        return features.prepare(settings.network, weights, EXTRACTION, shape, layers, tuple(maps.values()))
    except features.FeaturesError as error:
        raise InputError(f"simulation.generators, simulation.n_frames: {error}") from None


def network_of(settings: Simulation) -> Network | None:
    """The network that voxels listen to, as an entry of params.networks; None where they listen to the clips alone.

    Raises
    ------
    InputError
        There is no such network or layer, it has no such weights, or it is a fixed computation and no network.
    """
    weights = settings.listened_to
    if weights.model and settings.network in plugins.names("networks"):
        raise InputError(
            f"simulation.model is {weights.model}, and simulation.network {settings.network} is a network of its own; "
            "choose another name"
        )
    spec = spec_of(settings.network, weights)
    if not set(settings.parts) - set(generators.CLIP_GENERATORS):
        return None
    if spec.is_fixed:
        raise InputError(
            f"simulation.network is {settings.network}, a fixed computation without weights, and voxels can't listen "
            f"to it; name a network, or let simulation.generators name properties of the clips alone "
            f"({', '.join(generators.CLIP_GENERATORS)})"
        )
    needed_layers(settings, spec.layers)
    there = {"package": spec.package_file, "pretrained": spec.source, "random": spec}
    if there[settings.weights] is None:
        raise InputError(
            f"simulation.weights is {settings.weights}, and {settings.network} has no such weights; expected "
            + " or ".join(policy for policy, found in there.items() if found is not None)
        )
    return weights


def needed_layers(settings: Simulation, layers: Sequence[str]) -> tuple[str, ...]:
    """The network's layers if any voxel listens to one of them (each is then needed), else none.

    Raises
    ------
    InputError
        A generator is neither a property of the clips nor a layer of the network, nor a pooled map.
    """
    asked = {part for part in settings.parts if not is_pooled(part)} - set(generators.CLIP_GENERATORS)
    if unknown := sorted(asked - set(layers)):
        raise InputError(
            f"simulation.generators: {', '.join(unknown)} is neither one of {', '.join(generators.CLIP_GENERATORS)} "
            f"nor a layer of {settings.network} ({', '.join(layers)}); pooled, any of its modules can be named"
        )
    return tuple(layers) if asked else ()


def pooled_maps(settings: Simulation) -> dict[str, FeatureMap]:
    """The maps that voxels have receptive fields in, by the words of the generators."""
    return {part: FeatureMap(*layer_and_pool(part), "mean") for part in settings.parts if is_pooled(part)}


def listen(
    settings: Simulation, extraction: Extraction, clips: Sequence[Path], scratch: Path, progress: frames.Progress
) -> Heard:
    """Pass the clips through the network, read from their files as an analysis reads them.

    scratch: a folder for intermediate arrays, removed in the end

    Raises
    ------
    InputError
        The channels of a map do not vary over the clips.
    """
    from cinevox.stimuli import features

    n_frames, size, _, _ = extraction.frame_shape
    frames.write(clips, n_frames, size, "direct", scratch, progress)
    images = io.read_array(scratch / "frames.npy")
    with warnings.catch_warnings():  # loky renews the workers that grew when they loaded torch; nothing is lost
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        features.write(extraction, images, [path.name for path in clips], scratch, scratch / "unfinished", progress)
    layers = extraction.layers
    grams = Parallel()(delayed(generators.gram)(io.read_array(scratch / f"{layer}.npy")) for layer in layers)
    fields, channels = {}, {}
    for part, wanted in pooled_maps(settings).items():
        flat = io.read_array(scratch / f"{wanted.name}.npy")
        n_channels = extraction.frame_shapes[wanted.layer][0]
        key = (MAP, zlib.crc32(part.encode()))  # of the map alone: other generators change nothing of it
        rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))
        pooled = flat.reshape(len(flat), n_channels, -1)
        fields[part], channels[part] = field_components(part, pooled, settings.n_latents, rng)
    shutil.rmtree(scratch)
    return Heard(dict(zip(layers, grams)), fields, channels, extraction.weights.to_json())
