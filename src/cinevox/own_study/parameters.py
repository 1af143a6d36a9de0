"""The parameters of a study's first run: those of the default run, with this study's data, sizes and rows."""

from __future__ import annotations

import io
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from cinevox.errors import InputError
from cinevox.own_study import repository
from cinevox.own_study.facts import Facts
from cinevox.project.params import WHOLE_BRAIN, Splits
from cinevox.statistics.splits import split

NETWORK, LAYERS = "efficientnet_lite0", ("blocks.1.1", "blocks.3.2", "blocks.5.3")
BROUGHT = "brought"
N_FRAMES = 4  # of a clip
HEADER = """\
# {name}: every value that changes a result stands here, where DVC sees it.
# `cinevox new` wrote it for {title} ({size}); change what you like.
# Names (of subjects, ROIs, networks, ...) are letters, digits, _ and -; folders are relative, without `..`.
"""


def write(path: Path, name: str, known: Facts) -> tuple[str, ...]:
    """Write params.yaml, and return the names of its rows."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.representer.add_representer(type(None), lambda own, _: own.represent_scalar("tag:yaml.org,2002:null", "null"))
    document = yaml.load((repository.flow() / "params.yaml").read_text())
    rows = _change(document, known, re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_") or "study")
    stream = io.StringIO()
    yaml.dump(document, stream)
    text = stream.getvalue()
    size = f"{known.n_train:,} training and {known.n_test:,} test stimuli, {len(known.subjects)} subjects"
    head = HEADER.format(name=name, title=known.title, size=size)
    text = re.sub(
        r"(?<!\n)\n(?=[a-z]+:)", "\n\n", re.sub(r"\A(?:#.*\n)+", "", text)
    )  # blank lines that went with values
    path.write_text(head + text)
    return rows


def _change(document: Any, known: Facts, name: str) -> tuple[str, ...]:
    data = document["dataset"]
    data["name"], data["folder"] = known.layout.plugin, known.folder
    data["clips"], data["responses"] = known.layout.clips, known.layout.responses
    data["tracks"], data["subjects"] = _flow(known.tracks), _flow(known.subjects)
    data["rois"] = _flow(known.order or (WHOLE_BRAIN,))
    data["missing_rois"] = "skip" if known.some_lack else "refuse"
    document["simulation"]["datasets"] = _flow(())
    if known.layout.plugin == "trials":
        _say(data, clips="stimuli.tsv names the files", responses="each subject's folder has its betas")
    _say(data, rois="the track mini; the track full is WB, all voxels")
    _say(document["simulation"], datasets="nothing is simulated; the rest of this section is of in-silico studies")
    _say(document["report"], subject="whose validation scores are drawn")
    splits = document["splits"]
    chosen, stacks = _splits(known)
    splits["validation_fraction"], splits["n_folds"] = chosen.validation_fraction, chosen.n_folds
    count = 1 if known.stills or known.features else N_FRAMES
    document["frames"]["counts"] = _flow((count,))
    network, spaces = _network(known, count)
    document["networks"] = _like(document["networks"], {BROUGHT if known.features else NETWORK: network})
    document["spaces"] = _like(document["spaces"], spaces)
    document["reduction"]["n_components"] = max(2, min(100, known.n_fewest // 3))
    document["bases"] = _like(document["bases"], {})
    (label, entry), track = next(iter(spaces.items())), known.tracks[0]
    ways = ["each"] + (["stack"] if stacks and len(entry["layer"]) > 1 else [])
    rows = {f"{track}-{label}-{way}-ridge": _row(track, label, way) for way in ways}
    document["experiments"] = _flow_rows(document["experiments"], rows)
    document["report"]["brain_row"] = f"{track}-{label}-each-ridge" if track == "full" else None
    document["report"]["subject"] = known.subjects[0]
    document["submission"]["rows"] = _flow({})
    document["encoding"]["rows"] = _flow(() if known.features else (next(iter(rows)),))
    document["storage"]["remote"] = "private" if known.restricted else ""
    document["tracking"]["experiment"] = name
    return tuple(rows)


def _splits(known: Facts) -> tuple[Splits, bool]:
    """The first split with enough stimuli for every subject, and whether a stack can be made, which divides folds.

    Raises
    ------
    InputError
        There is none.
    """
    least = round(min(0.25, max(8, 0.1 * known.n_train) / known.n_train), 2)
    folds = (5, 3, 2) if known.n_fewest >= 60 else (3, 2)
    fractions = (least, *(each for each in (0.15, 0.2, 0.25, 0.3, 0.4, 0.5) if each > least))
    for per_fold, n_folds, n_least, fraction in product((4, 2), folds, (5, 2), fractions):
        settings = Splits(scheme="random", validation_fraction=fraction, n_folds=n_folds, n_outer_folds=None, seed=0)
        try:
            parts = split(known.n_train, known.n_test, settings)
        except InputError:
            continue
        n_own = [[np.isin(part, own).sum() for part in (parts.train, parts.validation)] for own in known.seen]
        if all(train >= per_fold * n_folds and validation >= n_least for train, validation in n_own):
            return settings, per_fold > 2
    raise InputError(
        f"{known.title}: {known.n_train:,} training stimuli, and {known.n_fewest:,} of the subject who saw the fewest; "
        "these are too few to fit and to validate on; expected six or more for every subject, and better hundreds"
    )


def _network(known: Facts, count: int) -> tuple[Any, dict[str, Any]]:
    """The entry of the network, and the spaces on it."""
    entry = {"weights": "package", "file": None, "sha256": None, "n_frames": count, "seed": 0}
    space = {"network": NETWORK, "layer": _flow(LAYERS), "pool": "avg5", "over_frames": "mean"}
    label, standardize = "lite0", False
    if known.features:
        path, arrays = known.features
        entry |= {"model": "array", "weights": "none", "file": f"data/features/{path.name}"}
        space = {"network": BROUGHT, "layer": _flow(arrays), "pool": "none", "over_frames": "mean"}
        label, standardize = BROUGHT, True
    whole = space | {"standardize": standardize, "n_components": None}
    return _flow(entry), {label: _flow(whole)}


def _say(section: Any, **comments: str) -> None:
    """Other comments behind values. Those of the default run speak of the paper's files and subjects."""
    for key, comment in comments.items():
        section.ca.items.pop(key, None)
        section.yaml_add_eol_comment(comment, key, column=31)


def _row(track: str, label: str, way: str) -> dict[str, Any]:
    own = {"track": track, "label": label, "spaces": _flow((label,)), "together": way, "regressor": "ridge"}
    return own | {"reported": None}


def _flow_rows(section: Any, rows: dict[str, Any]) -> Any:
    for group in ("voxelwise", "roiwise", "joint", "ensembles"):
        section[group] = _like(
            section[group], {name: _flow(row) for name, row in rows.items()} if group == "joint" else {}
        )
    return section


def _like(before: Any, values: dict[str, Any]) -> CommentedMap:
    """Other keys in a mapping's place. Comments that stand above its first key stay where they are."""
    found = CommentedMap(values) if values else _flow({})
    if values and isinstance(before, CommentedMap) and before.ca.comment is not None:
        found.ca.comment = before.ca.comment
    return found


def _flow(values: Any) -> Any:
    """A list or a mapping on one line."""
    found = CommentedMap(values) if isinstance(values, dict) else CommentedSeq(values)
    found.fa.set_flow_style()
    return found
