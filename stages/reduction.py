"""Reduction: every layer of one network becomes its principal components, fitted on the training clips."""

from joblib import Parallel, delayed

from _cli import Run, stage
from cinevox import io
from cinevox.reduction import principal_components
from cinevox.splits import split


def main(run: Run) -> None:
    network, settings = run.instance, run.params.reduction
    source, target = run.paths.features(network), run.paths.reduction(network)
    sidecar = io.read_json(source / "features.json")
    layers = [layer["name"] for layer in sidecar["layers"]]
    clips = io.read_json(run.paths.validation / "clips.json")
    train = split(clips["n_train_clips"], clips["n_clips"] - clips["n_train_clips"], run.params.splits).train
    tasks = (
        delayed(principal_components)(
            io.read_array(source / f"{layer}.npy"),
            train,
            settings.n_components,
            standardize=settings.standardize,
            normalize=settings.normalize,
        )
        for layer in layers
    )
    described = {}
    results = Parallel(return_as="generator")(tasks)
    for layer, components in zip(layers, run.progress(results, len(layers), f"PCA of {network}")):
        io.write_array(target / f"{layer}.npy", components.scores)
        described[layer] = {
            "n_features": components.n_features,
            "n_constant": components.n_constant,
            "n_components": components.scores.shape[1],
            "explained": float(components.explained.sum()),
        }
    fewer = {layer: entry["n_components"] for layer, entry in described.items()}
    if min(fewer.values()) < settings.n_components:
        run.log.info(
            "%s: fewer than %d components, as there are %d training clips: %s",
            network, settings.n_components, len(train), fewer,
        )  # fmt: skip
    io.write_json(target / "reduction.json", {"layers": described, "features": sidecar})


if __name__ == "__main__":
    stage(main, "splits", "reduction", instances=lambda params: params.networks)
