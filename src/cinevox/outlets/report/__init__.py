"""The report: one self-contained page of what a run found, and the tables for `dvc plots`.

The page needs no network, no script and no other file, and is the same, byte for byte, for the same results
and the same commit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple, get_args

import jinja2
import numpy as np

from cinevox.outlets.report import (
    brain,
    figures,
    known_truth,
    optimism,
    paper,
    regions,
    ridges,
    scatters,
    subjects,
    tables,
    units,
)
from cinevox.outlets.report.brain import map_files
from cinevox.outlets.report.dvcplots import plots
from cinevox.outlets.report.row_pairs import in_pairs
from cinevox.outlets.report.row_scores import row_scores
from cinevox.outlets.report.solvers import solver_lines
from cinevox.outlets.report.sources import SECTIONS, Sources, read
from cinevox.outlets.report.svg import shown, signed, standalone
from cinevox.project.params import MINI_ROIS, NetworkRow, Track
from cinevox.scoring import claims

__all__ = ["SECTIONS", "Rendered", "Sources", "drawn", "map_files", "plots", "read", "render"]


N_FILES = 3  # named for each check that failed; summary.json has more


class Rendered(NamedTuple):
    """The whole report as HTML; name -> vector graphic as a file of its own: the paper's figures, each row's scores,
    layer profiles and mixing weights, validation against test."""

    page: str
    drawings: dict[str, str]


def render(sources: Sources) -> Rendered:
    """The page and the drawings that stand in it too, drawn once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cinevox.outlets.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        r=shown, p=_chance, signed=signed, heat=_heat, percent=lambda share: f"{100 * share:.0f} %"
    )
    content = _content(sources)
    return Rendered(environment.get_template("page.html").render(content), _drawings(content))


def drawn(sources: Sources) -> dict[str, str]:
    """Row -> digest of the selection that the figures are of: who finds a figure later can tell if it is still true."""
    return {result.name: result.outcome.digest for result in sources.results}


def _content(sources: Sources) -> dict[str, Any]:
    """Collect all that the template of the page asks for."""
    tracks = [track for track in get_args(Track) if sources.of_track(track)]
    lines = {track: tables.score_lines(sources, track) for track in tracks}
    found = {
        "s": sources,
        "params": sources.params,
        "tracks": tracks,
        "track_titles": _track_titles(sources),
        "track_names": {"mini": "mini track", "full": "full track"}
        if sources.beside_the_paper
        else {"mini": "regions", "full": "whole brain"},
        "stimuli": sources.stimuli,
        "stimulus": {"clips": "clip", "stimuli": "stimulus"}[sources.stimuli],
        "places": {"mini": f"Over the {n_regions(sources.params.dataset.rois)}", "full": "Over the whole brain"},
        "rois_of": sources.params.dataset.track_rois,
        "networks": tables.network_lines(sources),
        "brain": brain.section(sources),
        "truth": _truth(sources, tracks) if sources.truth else None,
        "figures": regions.figures(sources),
        "changed": _changed(sources),
        "optimism": optimism.optimism_lines(sources),
        "validations": [
            (title, _validation_words(summary, sources.stimuli), f"../data/{folder}", _failed(summary))
            for title, folder, summary in (
                ("Validation", "validation", sources.validation),
                ("Checks of results", "checks", sources.checks),
            )
            if summary is not None
        ],
    }
    return found | _of_rows(sources, tracks) | _of_tracks(sources, lines) | _of_paper(sources, lines)


def _of_rows(sources: Sources, tracks: Sequence[Track]) -> dict[str, Any]:
    """Collect the content about all rows together."""
    profiles = [p for track in tracks for r in sources.of_track(track) if (p := tables.profile(r)) is not None]
    mixtures = [m for track in tracks for r in sources.of_track(track) if (m := tables.mixture(r)) is not None]
    trained = [r for r in sources.results if r.curves]
    both = [r for r in sources.results if {"validation", "test"} <= set(r.outcome.scores)]
    return {
        "random": claims.UNTRAINED.name,
        "cautions": _cautions(sources),
        "lacking": [each for track in tracks for each in subjects.lacking(sources.of_track(track)[0])],
        "own_stimuli": subjects.own_stimuli(sources.results[0]),
        "chose": [result.name for result in sources.results if result.scores.chosen_here],
        "no_test_clips": not any("test" in result.index.clips for result in sources.results),
        "solvers": solver_lines(sources.results, sources.params),
        "on_layers": any(isinstance(result.row, NetworkRow) and not result.index.named for result in sources.results),
        "named_spaces": tables.named_spaces(sources),
        "profiles": [(p, figures.profiles(p), {s: p.values(s) for s in p.by_split}) for p in profiles],
        "mixtures": mixtures,
        "heat_top": max((float(np.nanmax(p.values(p.result.split))) for p in profiles), default=0.0),
        "curves": figures.curves(trained) if trained else None,
        "generalization": _generalization(both) if both else None,
    }


def _of_tracks(sources: Sources, lines: Mapping[Track, Sequence[tables.ScoreLine]]) -> dict[str, Any]:
    """Collect the content about each track. lines: of its table of scores"""
    first = {track: sources.of_track(track)[0] for track in lines}
    split = {track: result.split for track, result in first.items()}
    return {
        "split": split,
        "measure": {track: result.measure for track, result in first.items()},
        "plain_tracks": [track for track, result in first.items() if result.is_plain],
        "lines": lines,
        "ceiling_lines": {
            track: found for track in lines if (found := units.ceiling_lines(sources, track, split[track]))
        },
        "unit_lines": {track: units.unit_lines(sources, track) for track in lines},
        "method_words": units.method_words(sources),
        "ceilings": {track: tables.ceilings(sources, track, split[track]) for track in lines},
        "doubts": sorted({doubt for track in lines for line in lines[track] for doubt in line.doubts}),
        "forest": {track: figures.forest(lines[track]) for track in lines},
        "narrow_forest": {track: figures.forest(lines[track], figures.NARROW) for track in lines},
        "voxels": {track: ridges.voxels(sources, result) for track, result in first.items()},
        "counts": {track: tables.voxel_counts(sources, track, split[track]) for track in lines},
        "pairs": {track: cells for track in lines if (cells := in_pairs(sources, track)) is not None},
    }


def _of_paper(sources: Sources, lines: Mapping[Track, Sequence[tables.ScoreLine]]) -> dict[str, Any]:
    """Collect the content about the paper and of the challenge's leaderboard."""
    written = {track: paper.paper_lines(sources, track) for track in lines if paper.has_table(sources, track)}
    ours = {track: {result.name for result in paper.trained(sources, track)} for track in lines}
    return {
        "weeks": tables.splits_in_words(sources.stimuli),
        "paper": written,
        "paper_titles": paper.TABLES,
        "why_no_paper": paper.why_not(sources),
        "n_judged": sum(line.reproduced is not None for found in written.values() for line in found),
        "leaderboard": paper.leaderboard() if ours.get("mini") else [],
        "leaderboard_rois": MINI_ROIS,
        "of_challenge": {track: [line for line in lines[track] if line.result.name in ours[track]] for track in lines},
    }


def _cautions(sources: Sources) -> list[tuple[claims.Caution, list[str]]]:
    """Every reason why a score of this page is no result or no finding, and the rows that it holds for."""
    found: dict[claims.Caution, list[str]] = {}
    for result in sources.results:
        for caution in result.cautions:
            found.setdefault(caution, []).append(result.name)
    return list(found.items())


def _track_titles(sources: Sources) -> dict[str, str]:
    """Headings of the tracks; `mini` and `full` are words of the challenge."""
    regions = n_regions(sources.params.dataset.rois)
    if sources.beside_the_paper:
        return {"mini": f"Mini track: {regions}", "full": "Full track: the whole brain"}
    return {"mini": regions, "full": "The whole brain"}


def n_regions(rois: Collection[str]) -> str:
    """Say how many regions there are, in words."""
    return f"{len(rois)} region{'s' * (len(rois) != 1)}"


def _changed(sources: Sources) -> list[tuple[str, str]]:
    """List what has changed since rows were made, and for which rows."""
    found = sources.changed
    return [
        (", ".join(names), ", ".join(row for row in found if found[row] == names))
        for names in dict.fromkeys(found.values())
    ]


def _drawings(content: Mapping[str, Any]) -> dict[str, str]:
    css = resources.files("cinevox.outlets.report").joinpath("page.css").read_text()
    found = {figure.name: figure.drawing for figure in content["figures"]}
    found |= {f"scores-{result.name}": row_scores(content["s"], result) for result in content["s"].results}
    for profile, drawing, _ in content["profiles"]:
        found[f"layers-{profile.result.name}"] = drawing
        found[f"heat-{profile.result.name}"] = figures.heat(profile, content["heat_top"])
    found |= {f"mixing-{mixture.result.name}": figures.mixing(mixture) for mixture in content["mixtures"]}
    if content["generalization"]:
        found["validation-test"] = content["generalization"]["figure"]
    return {name: standalone(drawing, css) for name, drawing in found.items()}


def _failed(summary: Mapping[str, Any]) -> list[str]:
    """One sentence for each check that failed, with the first files and what was found in them."""
    said = []
    for check in summary["checks"]:
        if not check["success"]:
            files = [
                f"{example['file']} ({', '.join(f'{key} {value}' for key, value in example['found'].items())})"
                for example in check["examples"][:N_FILES]
            ]
            more = check["n_unexpected"] - len(files)
            files += [f"{more} more"] * (more > 0)
            said.append(
                f"{check['suite'].replace('_', ' ')}: {check['n_unexpected']} of {check['n_files']} are not as "
                f"expected, which is: {check['expected']}. They are {', '.join(files)}. {check['cure']}"
            )
    return said


def _validation_words(summary: Mapping[str, Any], stimuli: str) -> str:
    suites = {suite: stimuli if suite == "clips" else suite.replace("_", " ") for suite in summary["n_files"]}
    files = ", ".join(f"{n} {suites[suite]}" for suite, n in summary["n_files"].items())
    counts = {kind: summary[f"n_{kind}s"] for kind in ("error", "warning")}
    told = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts.items())
    found = told if any(counts.values()) else "all as expected"
    return f"{len(summary['checks'])} checks of every file ({files}): {found}"


def _generalization(results: list) -> dict[str, object]:
    pairs, chosen = scatters.candidate_pairs(results)
    change = pairs[:, 1] - pairs[:, 0]
    return {
        "figure": scatters.validation_against_test(results),
        "mixed": (mixed := any(scatters.compared(result) != "score" for result in results)),
        "plain": mixed or results[0].is_plain,
        "n": len(pairs),
        "n_chosen": int(chosen.sum()),
        "change": float(change.mean()),
        "change_chosen": float(change[chosen].mean()),
    }


def _truth(sources: Sources, tracks: list[Track]) -> dict[str, object]:
    track: Track = "mini" if "mini" in tracks else "full"
    silent = known_truth.silent(sources, track)
    return {
        "track": track,
        "best": sources.of_track(track)[0],
        "recovered": known_truth.recovered(sources) if track == "mini" else [],
        "reliability": scatters.reliability(sources, track),
        "silent": silent,
        "null_voxels": ridges.null_voxels(silent),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _chance(p: float | None) -> str:
    """A p as it is printed: .012, < .001 where it is smaller than can be shown, – for none."""
    if p is None or p != p:
        return "–"
    return shown(p) if p >= 0.0015 else "≤ .001"


def _heat(value: float | None, top: float) -> str:
    """The style of a cell of the heat table."""
    ground, ink = figures.heat_colours(value, top)
    return f"background:{ground};color:{ink}"
