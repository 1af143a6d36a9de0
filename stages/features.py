"""Features of every clip in every layer of one network, in the parameters' weights and number of frames."""

from __future__ import annotations

from _cli import Run, stage
from cinevox.files import io
from cinevox.project.params import FeatureMap
from cinevox.stimuli import brought_features, features


def main(run: Run) -> None:
    network = run.params.networks[run.instance]
    asked = run.asked()
    maps = [FeatureMap.from_json(found) for found in asked.get("maps", ())]
    if network.model == brought_features.MODEL:
        out = run.paths.features(run.instance)
        brought_features.write(run.instance, network, run.clips(network.n_frames), out, maps)
        run.made(out, run.paths.frames(network.n_frames))
        return
    clips, frames = run.frames(network.n_frames)
    layers = None if asked.get("layers", True) else ()
    extraction = features.prepare(run.instance, network, run.params.features, frames.shape[1:], layers, maps)
    if extraction.weights.policy == "random":
        run.log.warning("%s: random weights: an untrained baseline, not the published network", run.log.name)
    if extraction.spec.n_frames is None and (size := extraction.spec.input_size) != frames.shape[2]:
        run.log.warning("%s: trained on frames of size %d, given %d", run.log.name, size, frames.shape[2])
    out = run.paths.features(run.instance)
    features.write(extraction, frames, clips, out, run.paths.unfinished / "features", run.progress)
    io.write_json(out / "features.json", extraction.to_json())
    run.made(out, run.paths.frames(network.n_frames))


if __name__ == "__main__":
    stage(main, "networks", "features", instances=lambda params: params.networks)
