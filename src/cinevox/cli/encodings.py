"""Encoding models: used on any video, and handed to MLflow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cinevox.cli._screen import Commands, port, show
from cinevox.encoding.about import FILE
from cinevox.errors import InputError, printable
from cinevox.project import identity, params
from cinevox.project.paths import Paths


def folder_of(paths: Paths, row: str) -> Path:
    """The folder of a row's encoding model.

    Raises
    ------
    InputError
        No such row, or it can have no model, or its model was not made, with the cure.
    """
    settings = params.load(paths.params)
    if row not in settings.experiments.rows:
        known = ", ".join(settings.experiments.rows)
        raise InputError(f"no row {row!r} in experiments; expected one of {known}")
    if why := settings.no_model(settings.experiments.rows[row]):
        raise InputError(f"row {row} can have no encoding model: {why}")
    folder = paths.encoding(row)
    if row not in settings.encoding.rows or not (folder / FILE).is_file():
        first = "" if row in settings.encoding.rows else "add it to encoding.rows in params.yaml, then "
        raise InputError(f"row {row} has no encoding model yet; {first}run `dvc repro encoding@{row}`")
    return folder


def _is_stale(paths: Paths, row: str) -> bool:
    """Whether the row was scored or chosen anew since its model was made, as far as dvc.lock knows."""
    lock, known = identity.read_lock(paths), params.load(paths.params).experiments.rows[row]
    used = {dep["path"]: dep["md5"] for dep in lock.get(f"encoding@{row}", {}).get("deps", ())}
    stages = [known.instance(step) for step in ("scores", "selection")]
    outs = (out for name in stages for out in lock.get(name, {}).get("outs", ()))
    return bool(used) and any(used.get(out["path"], out["md5"]) != out["md5"] for out in outs)


def _predict(chosen: argparse.Namespace) -> int:
    """predict the responses to any video: a table, a picture of each ROI and of the brain, and every voxel

    Any length, size and frame rate: as many frames as the model was fitted with are taken, spread evenly over the clip.
    Exit code 0: every clip is predicted; 1: some could not be read, and were left out.
    """
    from joblib import parallel_config

    from cinevox.cli import _predictions  # torch and pandas: seconds
    from cinevox.encoding import clips, store

    paths = Paths()
    encoding = store.read(folder_of(paths, chosen.row))
    about, wanted = encoding.about, clips.found_in(chosen.clips)
    subjects = tuple(dict.fromkeys(chosen.subject or about.columns.subjects))
    if unknown := [subject for subject in subjects if subject not in about.columns.subjects]:
        raise InputError(
            f"{chosen.row}: no subject {', '.join(unknown)}; there are {', '.join(about.columns.subjects)}"
        )
    folder = chosen.output or paths.responses(chosen.row)
    shown: list[_predictions.predicted.Shown] = []
    faults: list[str] = []
    with parallel_config(n_jobs=params.load(paths.params).parallel.n_jobs):
        for found in clips.Predictor(encoding)(wanted):
            shown += _predictions.write(folder, encoding, subjects, found, not chosen.no_pictures)
            faults += found.faults
    if shown:
        _predictions.write_index(folder, encoding, subjects, shown)
        show(_predictions.on_screen(subjects, shown))
        print(f"Responses in {about.units}; means over voxels{' and subjects' if len(subjects) > 1 else ''}.")
        print(f"trust: {about.measure} of this row on the {about.measured_on} of {about.dataset}.")
        print(f"usual range: 5th to 95th percentile over {about.usual_range}.")
        for caution in (*about.cautions, *(caution for clip in shown for caution in clip.cautions)):
            print(caution)
        print(f"\nLook further:  {folder / 'index.html'}")
    if _is_stale(paths, chosen.row):
        print(f"cinevox predict: the row has other results by now: `dvc repro encoding@{chosen.row}`", file=sys.stderr)
    for fault in faults:
        print(f"cinevox predict: {printable(fault)}", file=sys.stderr)
    return int(bool(faults))


def _register(chosen: argparse.Namespace) -> None:
    """log a row's encoding model in MLflow under the row's run, register it, and say how to serve it

    The model takes a clip, the content of an mp4 file.
    """
    from cinevox.outlets.tracking import models

    paths = Paths()
    folder_of(paths, chosen.row)
    if _is_stale(paths, chosen.row):
        raise InputError(
            f"row {chosen.row} has other results than those that its model was made from; run `dvc repro "
            f"encoding@{chosen.row}` first"
        )
    found = models.register(paths, params.load(paths.params), chosen.row, chosen.name or chosen.row)
    print(f"{found.name}, version {found.version}, under the row's run")
    if found.restricted:
        print("Fitted to data that may not be passed on: so this model may not be either, unless their terms allow it.")
    print(f"\n{found.commands(chosen.port)}")


def _serve(chosen: argparse.Namespace) -> None:
    """serve a registered model, with limits to what a request may take

    MLflow's own `mlflow models serve` parses a request of any size before the model sees it: give it a proxy in front.
    """
    from cinevox.outlets.tracking import serving

    serving.serve(params.load(Paths().params).tracking, chosen.model, chosen.host, chosen.port)


COMMANDS: Commands = {
    "predict": (
        _predict,
        {
            "clips": {
                "type": Path,
                "nargs": "+",
                "metavar": "CLIP",
                "help": "a video or a picture, or a folder of them",
            },
            "--row": {"required": True, "help": "a row of encoding.rows in params.yaml"},
            "--subject": {"action": "append", "help": "may be given several times; by default all"},
            "--output": {"type": Path, "metavar": "FOLDER", "help": "by default predictions/<row>"},
            "--no-pictures": {"action": "store_true", "help": "tables and voxels only (a brain takes seconds to draw)"},
        },
    ),
    "register": (
        _register,
        {
            "row": {"help": "a row of encoding.rows in params.yaml"},
            "--name": {"help": "in the registry; by default the row's"},
            "--port": {"type": port, "default": 5001, "help": "in the commands that are printed (default 5001)"},
        },
    ),
    "serve": (
        _serve,
        {
            "model": {"metavar": "NAME/VERSION", "help": "as `cinevox register` prints it"},
            "--host": {"default": "127.0.0.1", "help": "the address to listen on (default 127.0.0.1)"},
            "--port": {"type": port, "default": 5001, "help": "default 5001"},
        },
    ),
}
