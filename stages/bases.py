"""Bases: activations of a network's frozen blocks in every frame of every clip, for transfer networks."""

from _cli import Run, stage
from cinevox.files import io
from cinevox.stimuli import bases, features


def main(run: Run) -> None:
    base = run.params.bases[run.instance]
    clips, frames = run.frames(base.n_frames)
    extraction = bases.prepare(base, run.params.networks[base.network], run.params.features, frames.shape[1:])
    out = run.paths.base(run.instance)
    features.write(extraction, frames, clips, out, run.paths.unfinished / "bases", run.progress)
    (layer,) = extraction.layers
    sidecar = {"layer": layer, "map_shape": extraction.frame_shapes[layer], "features": extraction.to_json()}
    io.write_json(out / "base.json", sidecar)
    run.made(out, run.paths.frames(base.n_frames))


if __name__ == "__main__":
    stage(main, "bases", "networks", "features", instances=lambda params: params.bases)
