"""Reduction: every layer of one network becomes its principal components, fitted on the training clips."""

from joblib import Parallel, delayed

from _cli import Run, stage
from cinevox.files import io
from cinevox.statistics.splits import partitions, split
from cinevox.stimuli.reduction import principal_components


def main(run: Run) -> None:
    network, settings = run.instance, run.params.reduction
    source, target = run.paths.features(network), run.paths.reduction(network)
    sidecar = io.read_json(source / "features.json")
    layers = [layer["name"] for layer in sidecar["layers"]]
    parts = split(*run.n_clips(), run.params.splits)
    wanted = [(layer, part) for part in partitions(parts, run.params.splits) for layer in layers]
    tasks = (
        delayed(principal_components)(
            io.read_array(source / f"{layer}.npy"),
            part.train,
            settings.n_components,
            min_spread=settings.min_spread,
            normalize=settings.normalize,
        )
        for layer, part in wanted
    )
    described: dict[str, dict] = {}
    results = Parallel(return_as="generator")(tasks)
    for (layer, part), components in zip(wanted, run.progress(results, len(wanted), f"PCA of {network}")):
        io.write_array(target / part.folder / f"{layer}.npy", components.scores)
        described.setdefault(
            layer,
            {
                "n_features": len(components.scale.mean),
                "n_constant": components.scale.n_constant,
                "n_floored": components.scale.n_floored,
                "floor": components.scale.floor,
                "n_components": components.scores.shape[1],
                "explained": float(components.explained.sum()),
                "variance": components.variance,
                "lost": components.scale.lost,
            },
        )
    fewer = {layer: entry["n_components"] for layer, entry in described.items()}
    if min(fewer.values()) < settings.n_components:
        text = "%s: fewer than %d components, as there are %d training clips: %s"
        run.log.info(text, network, settings.n_components, len(parts.train), fewer)
    io.write_json(target / "reduction.json", {"layers": described, "features": sidecar})
    run.made(target, source)


if __name__ == "__main__":
    stage(main, "splits", "reduction", instances=lambda params: params.networks)
