"""Layouts of folders that a data set's plug-in reads as they are: a trials table, Algonauts 2021, BOLD Moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cinevox.errors import InputError
from cinevox.measured.trials_table.layout import STIMULI, subjects_in
from cinevox.stimuli.videos import READERS, SUFFIXES

DEPTH = 4  # of folders below the data that are looked into


@dataclass(frozen=True)
class Layout:
    """A folder that a plug-in reads. clips, responses: as params.dataset has them"""

    plugin: str
    clips: str
    responses: str
    understood: tuple[str, ...]
    guesses: tuple[str, ...] = ()


def recognised(data: Path) -> Layout | None:
    """The layout of a folder; None where its files are loose.

    Raises
    ------
    InputError
        It looks like one of these layouts, and parts are missing.
    """
    if (data / STIMULI).is_file() and subjects_in(data):
        return of_table(data, (f"{data} is a trials table, which is used as it is (docs/trials.md)",), ())
    folders = [data, *_folders(data, DEPTH)]
    if tracks := [path for path in folders if path.name in ("mini_track", "full_track")]:
        return _algonauts(data, folders, tracks)
    versions = {path.name: path for path in folders if path.name in ("versionA", "versionB")}
    if versions and any(path.name == "derivatives" for path in folders):
        return _bold_moments(data, versions)
    return None


def of_table(folder: Path, understood: tuple[str, ...], guesses: tuple[str, ...]) -> Layout:
    """The layout of a trials table. DVC needs a path of clips and of responses: `.`, the whole folder."""
    return Layout("trials", ".", ".", understood, guesses)


def _folders(data: Path, depth: int) -> Iterator[Path]:
    for path in sorted(data.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            yield path
            if depth > 1:
                yield from _folders(path, depth - 1)


def _algonauts(data: Path, folders: list[Path], tracks: list[Path]) -> Layout:
    parents = {path.parent for path in tracks if any(path.rglob("*.pkl")) and "test" not in path.parent.name}
    clips = [path for path in folders if any(each.suffix.lower() in READERS for each in path.iterdir())]
    faults = []
    if len(parents) != 1:
        there = ", ".join(str(path) for path in sorted(parents)) or "none"
        faults.append(f"expected one folder with mini_track or full_track and pickles in it, found {there}")
    if len(clips) != 1:
        there = ", ".join(map(str, clips)) or "none"
        faults.append(f"expected one folder of clips (mp4), found {there}")
    if faults:
        raise InputError(f"{data}: the layout of Algonauts 2021, with faults:\n  " + "\n  ".join(faults))
    (responses,) = parents
    where = clips[0].relative_to(data).as_posix(), responses.relative_to(data).as_posix()
    return Layout("algonauts2021", *where, (f"{data} has the layout of Algonauts 2021, and is used as it is",))


def _bold_moments(data: Path, versions: dict[str, Path]) -> Layout:
    root = "derivatives/versionB/MNI152"
    guesses: tuple[str, ...] = ()
    if "versionB" not in versions:
        root = "derivatives/versionA/MNI152/prepared_data/prepared_allvoxel_pkl/TRavg56789"
    elif "versionA" in versions:
        guesses = ("version B is taken, as its authors advise; of version A set dataset.responses (README of cinevox)",)
    faults = [] if (data / root).is_dir() else [f"no folder {root}"]
    if not (data / "stimuli").is_dir() or not any(p.suffix.lower() in SUFFIXES for p in (data / "stimuli").iterdir()):
        faults.append("no clips in the folder stimuli; get them from the study's authors, as NNNN.mp4")
    if faults:
        raise InputError(f"{data}: the layout of BOLD Moments, with faults:\n  " + "\n  ".join(faults))
    said = (f"{data} has the layout of BOLD Moments (OpenNeuro ds005165), and is used as it is",)
    return Layout("bold_moments", "stimuli", root, said, guesses)
