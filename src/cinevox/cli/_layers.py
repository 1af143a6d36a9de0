"""The layers of one network, with the shapes of their outputs."""

from __future__ import annotations

import re

from cinevox.cli._screen import new_table, show
from cinevox.project import params
from cinevox.stimuli.networks import spec_of

MODEL = re.compile(r"[a-z][a-z0-9_]*/\S+")  # a library and a model of it


def show_layers(settings: params.Params, name: str) -> None:
    """Print a table with a line for each layer.

    name: a key of params.networks, a plug-in, or a model of a library as `networks.<name>.model` has it

    Raises
    ------
    InputError
        There is no such network, or it does not take the frames of this run.
    """
    from cinevox.stimuli import brought_features, features  # torch: seconds

    entry = settings.networks.get(name)
    if entry is not None and entry.model == brought_features.MODEL:
        table = new_table("layer", "features")
        for layer, size in brought_features.layers(name, entry).items():
            table.add_row(layer, f"{size:,}")
        show(table)
        return
    known = entry or params.Network(
        weights="random", file=None, sha256=None, n_frames=1, seed=0, model=name if MODEL.fullmatch(name) else None
    )
    spec = spec_of(name, known)
    is_video, size = spec.n_frames is not None, spec.input_size
    if entry is not None and not is_video:
        size = settings.frames.size
    n_frames = known.n_frames if entry else spec.n_frames or 1
    untrained = known.model_copy(update={"weights": "none" if spec.is_fixed else "random"})
    found = features.prepare(name, untrained, settings.features, (n_frames, size, size, 3))
    table = new_table("layer", "output", *(["times"] if is_video else []), "features")
    for layer, shape in found.frame_shapes.items():
        times = [str(found.n_times(layer))] if is_video else []
        table.add_row(layer, " x ".join(map(str, shape)), *times, f"{found.n_features[layer]:,}")
    show(table)
    seen = f"{size} x {size} pixels"
    print(f"Of a clip of {n_frames} frames, {seen}, for each time." if is_video else f"Of a frame, {seen}.", end=" ")
    print(f"{spec.title}." + " params.spaces can name other modules of it, too." * (not spec.is_fixed))
