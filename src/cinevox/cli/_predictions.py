"""The files that `cinevox predict` leaves, for each clip and for all of them, and its table on the screen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from rich.table import Table

from cinevox.cli._screen import new_table, number
from cinevox.encoding.clips import Predicted
from cinevox.encoding.model import EncodingModel, Floats
from cinevox.errors import printable
from cinevox.files import io
from cinevox.measured.datasets import is_template
from cinevox.outlets.report import maps, predicted
from cinevox.outlets.report.svg import signed

MOST_LINES = 40
FORMULA = ("=", "+", "-", "@")


def write(
    folder: Path, encoding: EncodingModel, subjects: Sequence[str], found: Predicted, pictures: bool
) -> Iterator[predicted.Shown]:
    """Each clip's own folder: every voxel, a volume of each subject where voxels have a place, and pictures."""
    about = encoding.about
    inside = [place for place, region in enumerate(about.regions) if region.subject in subjects]
    regions, slices = [about.regions[place] for place in inside], [about.columns.slices[place] for place in inside]
    means = encoding.means(found.responses)[:, inside]
    for path, clip, responses, mean in zip(found.paths, found.clips, found.responses, means):
        target, lines = folder / path.stem, predicted.lines(regions, mean)
        voxels = {f"{region.subject}.{region.roi}": responses[where] for region, where in zip(regions, slices)}
        for name in ("rois.png", "rois.svg", "brain.png", *(f"{own}.nii.gz" for own in about.columns.subjects)):
            (target / name).unlink(missing_ok=True)  # of an earlier run, for other subjects or by another model
        io.write_arrays(target / "voxels.npz", **voxels)
        cautions = about.cautions_for(clip)
        files = _volumes(encoding, subjects, responses, printable(path.name), cautions)
        if pictures:
            files |= _pictures(encoding, subjects, responses, lines)
        for name, content in files.items():
            io.write_bytes(target / name, content)
        drawn = {
            name.partition(".")[0]: f"{quote(os.fsencode(path.stem), safe='')}/{name}"
            for name in ("rois.svg", "brain.png")
            if name in files
        }
        yield predicted.Shown(printable(path.stem), clip, cautions, lines, drawn)


def _volumes(
    encoding: EncodingModel, subjects: Sequence[str], responses: Floats, clip: str, cautions: Sequence[str]
) -> dict[str, bytes]:
    about = encoding.about
    space = "" if about.grid is None else about.grid.space
    told = {"row": about.row, "clip": clip, "cautions": " ".join([*about.cautions, *cautions]) or "none"}
    return {
        f"{subject}.nii.gz": maps.nifti(
            maps.BrainMap(subject, f"predicted response, {subject}", volume), predicted.affine(about), told, space
        )
        for subject, volume in predicted.volumes(encoding, subjects, responses).items()
    }


def _pictures(
    encoding: EncodingModel, subjects: Sequence[str], responses: Floats, lines: Sequence[predicted.PredictionLine]
) -> dict[str, bytes]:
    """Draw the ROIs, if there are several, and the brain, if its voxels have a place."""
    drawn = predicted.roi_pictures(lines, encoding.about) if len(lines) > 1 else {}
    found = {f"rois.{kind}": content for kind, content in drawn.items()}
    grid = encoding.about.grid
    common = grid is not None and is_template(grid.space)  # elsewhere a place of one subject is none of another's
    volumes = predicted.volumes(encoding, subjects, responses, predicted.LARGEST_Q) if common else {}
    brain = predicted.brain_picture(volumes, predicted.affine(encoding.about)) if volumes else None
    return found if brain is None else found | {"brain.png": brain}


def write_index(
    folder: Path, encoding: EncodingModel, subjects: Sequence[str], clips: Sequence[predicted.Shown]
) -> None:
    """The table and the page of all clips."""
    about = encoding.about
    table = pd.DataFrame(
        [
            {"clip": no_formula(clip.name), "subject": region.subject, "roi": region.roi, "response": response}
            | region.model_dump(exclude={"subject", "roi"})
            | {"seconds": clip.clip.seconds, "cautions": " ".join(clip.cautions)}
            | {"usual_of": about.usual}
            for clip in clips
            for line in clip.lines
            for region, response in zip(line.regions, line.responses)
        ]
    ).rename(columns={"low": "usual_low", "median": "usual_median", "high": "usual_high"})
    io.write_bytes(folder / "responses.csv", table.to_csv(index=False).encode())
    io.write_bytes(folder / "index.html", predicted.page(about, subjects, clips).encode())


def no_formula(name: str) -> str:
    """A name as a spreadsheet takes it for a text: with an apostrophe before a sign that begins a formula."""
    return f"'{name}" if name.startswith(FORMULA) else name


def on_screen(subjects: Sequence[str], clips: Sequence[predicted.Shown]) -> Table:
    """One clip: a line for each ROI, a column for each subject. Several: a line for each clip, means over subjects."""
    lines = clips[0].lines
    if len(clips) == 1:
        table = new_table("ROI", *(("mean",) if len(subjects) > 1 else ()), *subjects, "usual range", "trust")
        for line in lines:
            values = [*([line.response] if len(subjects) > 1 else []), *line.of(subjects)]
            told = ["–" if value is None else signed(value) for value in values]  # of a subject who lacks the ROI
            low, high = line.band
            table.add_row(line.roi, *told, f"{signed(low)} to {signed(high)}", number(line.score))
        return table
    rois = [line.roi for line in lines]
    table = new_table("clip", *rois, numbers=rois)
    for clip in clips[:MOST_LINES]:
        table.add_row(clip.name, *(signed(line.response) for line in clip.lines))
    if len(clips) > MOST_LINES:
        table.add_row(f"{len(clips) - MOST_LINES} more", *("..." for _ in lines))
    table.add_row("trust", *(number(line.score) for line in lines))
    return table
