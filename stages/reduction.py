"""Reduction: layers and named spaces of one network become principal components, fitted on the training clips."""

from joblib import Parallel, delayed

from _cli import Run, stage
from _splits import partitions, split
from cinevox.files import io
from cinevox.project.params import FeatureSpace
from cinevox.stimuli.named_spaces import map_files, pca_of
from cinevox.stimuli.reduction import bound, reduced


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
        delayed(reduced)(f"{job[1]} of {network}", io.read_array(source / f"{file}.npy"), part.train, pca)
        for job, part in wanted
        for file, pca in [jobs[job]]
    )
    described: dict[str, dict] = {"layers": {}, "spaces": {}}
    results = Parallel(return_as="generator")(tasks) if wanted else ()  # joblib warns of what nobody asks
    for ((kind, name), part), components in zip(wanted, run.progress(results, len(wanted), f"PCA of {network}")):
        folder = run.paths.components(network, part.folder, named=kind == "spaces")
        io.write_array(folder / f"{name}.npy", components.scores)
        described[kind].setdefault(name, components.to_json())
    fewer: dict[str, list[str]] = {}
    for kind, name in jobs:
        entry = described[kind][name]
        if entry["n_components"] < jobs[kind, name][1].n_components:
            fewer.setdefault(bound(entry, len(split(run).train)), []).append(f"{name} {entry['n_components']}")
    for why, names in fewer.items():
        run.log.info("%s: fewer components than asked for, as %s: %s", network, why, ", ".join(names))
    io.write_json(target / "reduction.json", described | {"features": sidecar})
    run.made(target, source)


if __name__ == "__main__":
    stage(main, "splits", "reduction", instances=lambda params: params.networks)
