"""The feature spaces of a row: its candidates, and the arrays that a fit is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from _inputs import Run
from _splits import groups
from cinevox.files import io
from cinevox.fitting import feature_spaces
from cinevox.fitting.feature_spaces import Candidate, Floats
from cinevox.fitting.fits import Shown
from cinevox.measured.cohorts import Cohort
from cinevox.project.params import FeatureMap, FeatureSpace, JointRow, NetworkRow, Reduction, Row
from cinevox.statistics.splits import Partition
from cinevox.stimuli.named_spaces import floor_of, map_files, pca_of


@dataclass(frozen=True)
class Spaces:
    """The spaces that a row stands on.

    networks: their names; features: network -> its features.json
    files: space -> its network and the file of its features
    named: those named in the parameters; none of a row with one of the paper's words, whose spaces are layers
    """

    run: Run
    candidates: tuple[Candidate, ...]
    networks: tuple[str, ...]
    features: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, tuple[str, str]]
    named: Mapping[str, FeatureSpace]

    def raw(self) -> dict[str, Floats]:
        """Space -> its features without PCA, memory-mapped, (n_clips, ...)."""
        folder = self.run.paths.features
        return {space: io.read_array(folder(network) / f"{file}.npy") for space, (network, file) in self.files.items()}

    def fitted(self, part: Partition) -> dict[str, Floats]:
        """Space -> what a fit on a partition's training clips is given: its components, or its features."""
        paths, named, found = self.run.paths, bool(self.named), {}
        for space, (network, file) in self.files.items():
            folder, name = paths.features(network), file
            if self.has_components(space):
                folder, name = paths.components(network, part.folder, named), space
            found[space] = io.read_array(folder / f"{name}.npy")
        return found

    def maps(self) -> dict[str, tuple[str, FeatureMap]]:
        """Space -> its network, and the part of the network's output that it is made from."""
        if self.named:
            return {name: (space.network, space.map) for name, space in self.named.items()}
        return {
            layer: (network, FeatureMap(layer, "none", self.features[network]["over_frames"]))
            for layer, (network, _) in self.files.items()
        }

    def has_components(self, space: str) -> bool:
        """Whether a space is reduced by PCA."""
        if self.named:
            return self.named[space].n_components is not None
        return not self.candidates[0].raw

    def reductions(self, settings: Reduction) -> dict[str, Reduction]:
        """Space -> its PCA, of those that have one. settings: params.reduction"""
        own = {name: pca_of(space, settings) for name, space in self.named.items()} or dict.fromkeys(
            self.files, settings
        )
        return {space: found for space, found in own.items() if found is not None and self.has_components(space)}

    def n_components(self) -> dict[str, int]:
        """Space -> how many components it has, of those that have some."""
        kind = "spaces" if self.named else "layers"
        reduced = {name: io.read_json(self.run.paths.reduction(name) / "reduction.json") for name in self.networks}
        return {
            space: reduced[network][kind][space]["n_components"]
            for space, (network, _) in self.files.items()
            if self.has_components(space)
        }

    def provenance(self) -> dict[str, Any]:
        """Components, the networks' weights and named spaces, as predictions record them."""
        weights = {name: sidecar["weights"] for name, sidecar in self.features.items()}
        named = {"named": {name: space.to_json() for name, space in self.named.items()}} if self.named else {}
        return {"n_components": self.n_components(), "weights": weights} | named


def shown(run: Run, cohort: Cohort) -> Shown:
    """The clips that a cohort saw, as a fit is told."""
    together = groups(run)
    if together is not None and cohort.rows is not None:
        together = together[cohort.rows[: cohort.n_train]]
    return Shown(cohort.rows, together)


def of_row(run: Run, row: Row) -> Spaces:
    """The spaces of a row that a regressor is fitted to."""
    if isinstance(row, JointRow):
        asked = run.asked()
        found = asked.get(row.name, asked)  # by its name where it is a member of an ensemble
        named = {name: FeatureSpace.from_json(space) for name, space in found["spaces"].items()}
        floor = floor_of(found.get("min_spread"))
        candidates = feature_spaces.joint_candidates(named, row.together, row.fixed, floor)
        networks = tuple(dict.fromkeys(space.network for space in named.values()))
        features = {name: io.read_json(run.paths.features(name) / "features.json") for name in networks}
        known = {name: map_files(sidecar) for name, sidecar in features.items()}
        files = {name: (space.network, known[space.network][space.map]) for name, space in named.items()}
        return Spaces(run, candidates, networks, features, files, named)
    if not isinstance(row, NetworkRow):
        raise TypeError(f"a row of the group {row.group}")
    network = row.network
    sidecar = io.read_json(run.paths.features(network) / "features.json")
    layers = [layer["name"] for layer in sidecar["layers"]]
    candidates = feature_spaces.candidates(row.features, layers)
    return Spaces(run, candidates, (network,), {network: sidecar}, {layer: (network, layer) for layer in layers}, {})
