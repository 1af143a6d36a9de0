"""The report: one self-contained page of what a run found, and the tables for `dvc plots`.

The page needs no network, no script and no other file, and is the same, byte for byte, for the same results
and the same commit.
"""

from __future__ import annotations

import base64
from typing import get_args

import jinja2
import numpy as np

from cinevox.params import Track
from cinevox.report import brain, figures, tables
from cinevox.report.solvers import solver_lines
from cinevox.report.sources import SECTIONS, Sources, read
from cinevox.report.svg import shown, signed
from cinevox.report.tables import plots

__all__ = ["SECTIONS", "Sources", "page", "plots", "read"]

LIGHT, DARK = (247, 250, 250), (11, 94, 122)  # the ends of the heat scale: 0 and the highest score


def page(sources: Sources) -> str:
    """The whole report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cinevox.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(r=shown, signed=signed, heat=_heat, percent=lambda share: f"{100 * share:.0f} %")
    text: str = environment.get_template("page.html").render(_content(sources))
    return text


def _content(sources: Sources) -> dict[str, object]:
    tracks = [track for track in get_args(Track) if sources.of_track(track)]
    split = {track: sources.of_track(track)[0].split for track in tracks}
    lines = {track: tables.score_lines(sources, track) for track in tracks}
    found = [p for track in tracks for r in sources.of_track(track) if (p := tables.profile(r)) is not None]
    trained = [r for r in sources.results if r.curves]
    both = [r for r in sources.results if {"validation", "test"} <= set(r.selection["scores"])]
    return {
        "s": sources,
        "params": sources.params,
        "tracks": tracks,
        "track_titles": {"mini": "Mini track: nine regions", "full": "Full track: the whole brain"},
        "split": split,
        "lines": lines,
        "ceilings": {track: tables.ceilings(sources, track, split[track]) for track in tracks},
        "networks": tables.network_lines(sources),
        "solvers": solver_lines(sources.results),
        "doubts": sorted({doubt for track in tracks for line in lines[track] for doubt in line.doubts}),
        "forest": {track: figures.forest(lines[track]) for track in tracks},
        "profiles": [(p, figures.profiles(p), {s: p.values(s) for s in p.by_split}) for p in found],
        "curves": figures.curves(trained) if trained else None,
        "heat_top": max((float(np.nanmax(p.values(p.result.split))) for p in found), default=0.0),
        "voxels": {track: figures.voxels(sources, sources.of_track(track)[0]) for track in tracks},
        "counts": {track: tables.voxel_counts(sources, track, split[track]) for track in tracks},
        "brain": _brain(sources),
        "generalization": _generalization(both) if both else None,
        "truth": _truth(sources, tracks) if sources.truth else None,
        "rois_of": sources.params.dataset.track_rois,
        "validation_words": _validation_words(sources),
    }


def _validation_words(sources: Sources) -> str:
    summary = sources.validation
    if summary is None:
        return "not run"
    files = ", ".join(f"{n} {suite.replace('_', ' ')}" for suite, n in summary["n_files"].items())
    found = (
        f"{summary['n_errors']} errors, {summary['n_warnings']} warnings"
        if summary["n_warnings"]
        else "all as expected"
    )
    return f"{len(summary['checks'])} checks of every file ({files}): {found}"


def _brain(sources: Sources) -> dict[str, object] | None:
    row = next((r for r in sources.results if r.name == sources.params.report.brain_row), None)
    if row is None or sources.anatomy is None or row.row.track != "full":
        return None
    scores = tables.chosen_voxels(row, "normalized")
    volume = brain.volume(sources.anatomy, row.index.columns, scores)
    picture = base64.b64encode(brain.picture(volume, sources.anatomy.affine)).decode()
    return {"row": row, "picture": picture, "subjects": brain.summary(row.index.columns, scores)}


def _generalization(results: list) -> dict[str, object]:
    pairs, chosen = figures.candidate_pairs(results)
    change = pairs[:, 1] - pairs[:, 0]
    return {
        "figure": figures.validation_against_test(results),
        "n": len(pairs),
        "n_chosen": int(chosen.sum()),
        "change": float(change.mean()),
        "change_chosen": float(change[chosen].mean()),
    }


def _truth(sources: Sources, tracks: list[Track]) -> dict[str, object]:
    track: Track = "mini" if "mini" in tracks else "full"
    silent = tables.silent(sources, track)
    return {
        "track": track,
        "best": sources.of_track(track)[0],
        "recovered": tables.recovered(sources) if track == "mini" else [],
        "reliability": figures.reliability(sources, track),
        "silent": silent,
        "null_voxels": figures.null_voxels(silent),
    }


def _heat(value: float | None, top: float) -> str:
    """The style of a cell of the heat table: its colour, and ink that can be read on it."""
    if value is None or value != value:
        return "color:#8a8f94"
    share = min(max(value / top, 0.0), 1.0) if top > 0 else 0.0
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(LIGHT, DARK))
    return f"background:rgb({red},{green},{blue});color:{'#fff' if share > 0.55 else '#1d2327'}"
