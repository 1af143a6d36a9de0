"""Reduction: layers and named spaces of one network become principal components, fitted on the training clips."""

from joblib import Parallel, delayed

from _cli import Run, stage
from _splits import partitions, split
from cinevox.files import io
from cinevox.project.params import FeatureSpace
from cinevox.stimuli.named_spaces import map_files, pca_of
from cinevox.stimuli.reduction import principal_components


def main(run: Run) -> None:
    network, settings = run.instance, run.params.reduction
    source, target = run.paths.features(network), run.paths.reduction(network)
    sidecar = io.read_json(source / "features.json")
    asked = run.asked()
    layers = sidecar["layers"] if asked.get("layers", True) else []
    jobs = {("layers", layer["name"]): (layer["name"], settings) for layer in layers}
    for name, found in asked.get("spaces", {}).items():
        space = FeatureSpace.from_json(found)
        if (pca := pca_of(space, settings)) is not None:
            jobs["spaces", name] = map_files(sidecar)[space.map], pca
    wanted = [(job, part) for part in partitions(run) for job in jobs]
    tasks = (
        delayed(principal_components)(
            io.read_array(source / f"{file}.npy"),
            part.train,
            pca.n_components,
            min_spread=pca.min_spread,
            normalize=pca.normalize,
        )
        for job, part in wanted
        for file, pca in [jobs[job]]
    )
    described: dict[str, dict] = {"layers": {}, "spaces": {}}
    results = Parallel(return_as="generator")(tasks) if wanted else ()  # joblib warns of what nobody asks
    for ((kind, name), part), components in zip(wanted, run.progress(results, len(wanted), f"PCA of {network}")):
        folder = run.paths.components(network, part.folder, named=kind == "spaces")
        io.write_array(folder / f"{name}.npy", components.scores)
        described[kind].setdefault(name, components.to_json())
    there = {(kind, name): entry["n_components"] for kind in described for name, entry in described[kind].items()}
    if fewer := {job[1]: count for job, count in there.items() if count < jobs[job][1].n_components}:
        text = "%s: fewer components than asked for, as there are %d training clips: %s"
        run.log.info(text, network, len(split(run).train), fewer)
    io.write_json(target / "reduction.json", described | {"features": sidecar})
    run.made(target, source)


if __name__ == "__main__":
    stage(main, "splits", "reduction", instances=lambda params: params.networks)
