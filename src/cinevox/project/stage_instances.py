"""Every stage's instances, as dvc.yaml has them, and the plug-ins that each can load by name.

Imports say all the rest (`source_code`). A test compares the instances with dvc.yaml, and another the modules that
stages really load with what is said here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cinevox.files.digests import Digests, remembered_digests
from cinevox.files.labelled_arrays import digest_of
from cinevox.project import asked
from cinevox.project.params import EnsembleRow, FeatureSpace, JointRow, Network, Params, Row, load, maps
from cinevox.project.paths import Paths
from cinevox.project.plugins import PACKAGES, Kind, regressor_of
from cinevox.project.source_code import STAGES, SourceCode, remembered

FILES = "digests.json"  # of `Paths.memo`


class Instance(NamedTuple):
    """A stage, one of its instances ("" where it has no others), and the modules of plug-ins that it can load.

    asked: what params.spaces asks of this instance and of no other, and digests of its files: DVC can't tell the one
        from params.yaml, and does not track the other
    """

    stage: str
    instance: str
    plugins: tuple[str, ...]
    asked: Mapping[str, Any] = {}

    def text(self, modules: SourceCode) -> str:
        """The text of what the stage depends on: every module that it can load, with the module's hash, one a line.

        Behind them stands what is asked of it (`cinevox.project.asked`), if anything is.
        """
        reached: dict[str, Any] = dict(modules.reached((f"{STAGES}.{self.stage}", *self.plugins)))
        return json.dumps(reached | ({asked.KEY: dict(self.asked)} if self.asked else {}), indent=1) + "\n"


def digests(paths: Paths) -> dict[str, str]:
    """File of `Paths.source_code` -> its MD5, as DVC has it, if the code and the parameters of now were run.

    Raises
    ------
    ParamsError
        The parameters are unusable.
    """
    params, files = load(paths.params), remembered_digests(paths.memo / FILES)
    modules = SourceCode.of(paths.root, remembered(paths.memo / "source_code.json"))
    return {
        paths.source_code(found.stage, found.instance).relative_to(paths.root).as_posix(): hashlib.md5(
            found.text(modules).encode(), usedforsecurity=False
        ).hexdigest()
        for found in instances(params, modules, files)
    }


def instances(params: Params, modules: SourceCode, files: Digests | None = None) -> Iterator[Instance]:
    """All that the parameters ask for, in the order of the flow.

    files: digests of an earlier run, of files that DVC does not track

    `validation` asks regressors and networks whether they can be used, and writes nothing of the answer, which each
    gives again where it is used: an edit of one makes no other validation. The report has every title, also of the
    paper's rows that are not among this run's.
    """
    data = (_plugin("datasets", params.dataset.name),)
    driving = _module(params.simulation.network, params.simulation.model)
    every = modules.plugins(PACKAGES["networks"]) + modules.plugins(PACKAGES["regressors"]) + data
    rows = params.experiments.rows
    untracked = {name: _untracked(network, files or Digests()) for name, network in params.networks.items()}

    yield from (Instance("simulation", name, (driving,)) for name in params.simulation.datasets)
    yield Instance("validation", "", data)
    yield from (Instance("conversion", part, data) for part in ("train", "test"))
    yield from (Instance("frames", str(count), data) for count in params.frames.counts)
    yield from (
        Instance("features", name, _network(params, name), _maps(params, name) | untracked[name])
        for name in params.networks
    )
    yield from (Instance("reduction", name, (), _components(params, name)) for name in params.networks)
    yield from (Instance("ceiling", track, ()) for track in params.dataset.tracks)
    yield from (
        Instance("fits", name, _regressors(params, row), _spaces(params, row))
        for name, row in rows.items()
        if row.group in ("voxelwise", "joint")
    )
    yield from (
        Instance("bases", name, _network(params, base.network), untracked[base.network])
        for name, base in params.bases.items()
    )
    yield from (
        Instance("transfer", name, _network(params, row.network)) for name, row in params.experiments.roiwise.items()
    )
    yield from (Instance("ensembles", name, ()) for name in params.experiments.ensembles)
    yield from (Instance("scores", name, ()) for name in rows)
    yield from (Instance("selection", name, _networks(params, row)) for name, row in rows.items())
    yield Instance("checks", "", data)
    yield Instance("report", "", (*every, driving))
    for track, name in params.submission.every.items():
        yield Instance("submission", track, _regressors(params, rows[name]), _spaces(params, rows[name]))
    for name in params.encoding.rows:
        row = rows[name]
        code = data + _networks(params, row) + _regressors(params, row)
        yield Instance("encoding", name, code, _spaces(params, row))
    yield Instance("tracking", "", ())
    yield Instance("gate", "", ())


def _plugin(kind: Kind, name: str) -> str:
    """The module of a plug-in."""
    return f"{PACKAGES[kind]}.{name}"


def _network(params: Params, name: str) -> tuple[str, ...]:
    """The module of a network of the parameters."""
    return (_module(name, params.networks[name].model),)


def _module(name: str, model: str | None) -> str:
    """The plug-in of a network, or of the library that has its model."""
    return _plugin("libraries", model.partition("/")[0]) if model else _plugin("networks", name)


def _networks(params: Params, row: Row) -> tuple[str, ...]:
    """The networks that a row stands on."""
    return tuple(module for name in params.networks_of(row) for module in _network(params, name))


def _spaces(params: Params, row: Row) -> dict[str, Any]:
    """The named spaces that a row stands on, or each member of an ensemble.

    With them stands `reduction.min_spread` where a fit z-scores one of them, as it does without a PCA.
    """
    if isinstance(row, EnsembleRow):
        members = {name: _spaces(params, params.experiments.rows[name]) for name in row.rows}
        return {name: found for name, found in members.items() if found}
    if not isinstance(row, JointRow):
        return {}
    own = params.spaces_of(row)
    scaled = any(space.standardize and space.n_components is None for space in own.values())
    return {"spaces": _listed(own)} | ({"min_spread": params.reduction.min_spread} if scaled else {})


def spaces_on(params: Params, network: str) -> dict[str, Any]:
    """The named spaces of a network, and whether whole layers are asked for as well."""
    own = {name: space for name, space in params.feature_spaces.items() if space.network == network}
    whole = any(row.network == network for row in params.experiments.voxelwise.values())
    return {"layers": whole, "spaces": _listed(own)} if own else {}


def _components(params: Params, network: str) -> dict[str, Any]:
    """The named spaces of a network that have a PCA, and whether whole layers are reduced as well."""
    found = spaces_on(params, network)
    reduced = {name: space for name, space in found.get("spaces", {}).items() if space["n_components"] is not None}
    return found | {"spaces": reduced} if found else {}


def _maps(params: Params, network: str) -> dict[str, Any]:
    """The pooled maps of a network that its named spaces are made from, and whether whole layers are, too."""
    found = spaces_on(params, network)
    own = (FeatureSpace.from_json(space) for space in found.get("spaces", {}).values())
    return {"layers": found["layers"], "maps": [one.to_json() for one in maps(own)]} if found else {}


def _untracked(network: Network, files: Digests) -> dict[str, Any]:
    """Digests of a network's files, which DVC does not track.

    They are the arrays that the user brings, weights without a checksum in the parameters, and what says how a model of
    transformers is built. In a folder of checkpoints, the network alone knows which is its own: there is none for it.
    """
    file, model = network.file, network.model or ""
    if file is None:
        return {}
    if model == "array":
        return {"digest": digest_of(file, files)}
    found: dict[str, Any] = {}
    is_folder, in_folder = file.is_dir(), model.startswith("transformers/")
    weights = file / "model.safetensors" if is_folder and in_folder else file
    if network.weights == "file" and network.sha256 is None and weights.is_file():
        found["weights"] = files.of(weights)
    beside = sorted((file if is_folder else file.parent).glob("*.json")) if in_folder else []
    return found | ({"configuration": {each.name: files.of(each) for each in beside}} if beside else {})


def _listed(spaces: Mapping[str, FeatureSpace]) -> dict[str, Any]:
    return {name: space.to_json() for name, space in spaces.items()}


def _regressors(params: Params, row: Row) -> tuple[str, ...]:
    """The row's, and its candidates where it chooses among several (`best`); of an ensemble its members'."""
    if row.is_transfer:
        return ()
    if isinstance(row, EnsembleRow):
        own = (_regressors(params, params.experiments.rows[name]) for name in row.rows)
        return tuple(dict.fromkeys(module for found in own for module in found))
    name, options = regressor_of(row.regressor, params.regressors[row.regressor])
    names = (name, *options.get("candidates", ()))
    return tuple(_plugin("regressors", name) for name in names)
