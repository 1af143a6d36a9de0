"""Loose files understood: which stimuli, subjects, ROIs and trials they are.

Every guess is said, and every fault at once.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cinevox.errors import InputError
from cinevox.own_study import arrays, orders, responses
from cinevox.own_study.names import FEATURES, subject_of
from cinevox.own_study.subject_trials import Responses
from cinevox.stimuli.videos import STILLS, SUFFIXES

MOST_FILES = 500_000
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}


@dataclass(frozen=True)
class Stimuli:
    """Files of stimuli. files: id -> its file, sorted by name; owners: id -> the subject whose folder it lies in"""

    files: dict[str, Path]
    owners: dict[str, str | None]
    parts: dict[str, str]
    forms: dict[str, str]

    def of(self, subject: str) -> list[str]:
        """The stimuli of a subject by name: those in its own folders, or else those in no subject's."""
        own = [key for key, owner in self.owners.items() if owner == subject]
        return own or [key for key, owner in self.owners.items() if owner is None]


@dataclass(frozen=True)
class LooseStudy:
    """A study of loose files in a folder. ids: of its stimuli, in the order of the table"""

    data: Path
    stimuli: Stimuli
    ids: tuple[str, ...]
    subjects: dict[str, Responses]
    understood: tuple[str, ...]
    guesses: tuple[str, ...]


@dataclass
class _Notes:
    understood: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def understand(data: Path) -> LooseStudy:
    """Understand a folder of loose files; nothing is written.

    Raises
    ------
    InputError
        There are no arrays, or it cannot be told what they are of; every fault is named.
    """
    paths = _files(data)
    notes = _Notes()
    stimuli = _stimuli(data, [path for path in paths if path.suffix.lower() in SUFFIXES], notes)
    lists = [path for path in paths if orders.is_order(path)]
    files = [path for path in paths if _may_hold_betas(path) and path not in lists]
    if features := [path for path in files if FEATURES.search(path.name)]:
        files = [path for path in files if path not in features]
        told = ", ".join(str(path.relative_to(data)) for path in features[:3])
        notes.understood.append(
            f"{told}: features of stimuli by the name, and left out (docs/adding.md says how to use them)"
        )
    masks = [path for path in paths if path.name.endswith((".nii", ".nii.gz"))]
    if not files:
        found = ", ".join(f"{n:,} {kind or 'without suffix'}" for kind, n in _kinds(paths).items()) or "nothing"
        volumes = "; volumes of betas go into a trials table (docs/trials.md)" if masks else ""
        raise InputError(
            f"{data}: no arrays of responses in it; expected {', '.join(arrays.SUFFIXES)} of (n_stimuli, n_voxels), "
            f"(n_stimuli, n_repetitions, n_voxels), or GLMsingle output; found {found}{volumes}"
        )
    grouped: dict[str | None, list[Path]] = defaultdict(list)
    for path in files:
        grouped[subject_of(path.relative_to(data))].append(path)
    if None in grouped:
        if len(grouped) > 1:
            notes.faults += [f"{path.relative_to(data)}: names no subject, as others do" for path in grouped.pop(None)]
        else:
            grouped["sub-01"] = grouped.pop(None)
            notes.guesses.append(
                "no name says a subject, so all arrays are taken to be of one, sub-01; name folders sub-XX"
            )
    subjects = {}
    for name, own in sorted((str(name), own) for name, own in grouped.items()):
        within = [path for path in (*lists, *masks) if subject_of(path.relative_to(data)) in (None, name)]
        try:
            subjects[name] = responses.of_subject(
                data, name, own, [path for path in within if path in lists], [path for path in within if path in masks],
                stimuli.of(name), stimuli.forms, notes.guesses,
            )  # fmt: skip
        except InputError as error:
            notes.faults.append(str(error))
    if notes.faults:
        raise InputError(f"{data}: cannot be understood:\n  " + "\n  ".join(dict.fromkeys(notes.faults)))
    return _told(data, stimuli, subjects, notes)


def _told(data: Path, stimuli: Stimuli, subjects: dict[str, Responses], notes: _Notes) -> LooseStudy:
    shown = list(dict.fromkeys(key for own in subjects.values() for key in own.stimuli))
    for name, own in subjects.items():
        counts = Counter(own.stimuli)
        often = sorted(set(counts.values()))
        times = f"{often[0]} to {often[-1]} times" if len(often) > 1 else {1: "once"}.get(often[0], f"{often[0]} times")
        rois = ", ".join(f"{roi} ({n:,})" for roi, n in own.sizes.items()) or f"no ROI ({own.n_units:,})"
        notes.understood.append(f"{name}: {len(counts):,} stimuli, each shown {times}; voxels of {rois}")
    if all(n == 1 for own in subjects.values() for n in Counter(own.stimuli).values()):
        notes.understood.append(
            "every stimulus was shown once: there is no noise ceiling, scores are plain correlations"
        )
    if unseen := [key for key in stimuli.files if key not in set(shown)]:
        notes.understood.append(f"{len(unseen):,} stimuli were shown to nobody, and are left out ({unseen[0]}, ...)")
    ids = tuple(stimuli.files) or tuple(sorted(shown))
    notes.guesses.append(
        "values are taken as they are, not z-scored: each session is, by its training trials. If they are already, "
        'write "Normalized": "session" into sub-XX/sub-XX_betas.json'
    )
    return LooseStudy(data, stimuli, ids, subjects, tuple(notes.understood), tuple(dict.fromkeys(notes.guesses)))


def _files(data: Path) -> list[Path]:
    """Every file, also through links to folders; hidden ones are left out."""
    found: list[Path] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(data, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = [name for name in folders if name[0] != "." and os.path.realpath(f"{parent}/{name}") not in seen]
        found += [Path(parent, name) for name in names if name[0] != "."]
        if len(found) > MOST_FILES:
            raise InputError(f"{data}: more than {MOST_FILES:,} files; name the folder of one study")
    return sorted(path for path in found if path.is_file())


def _may_hold_betas(path: Path) -> bool:
    if path.suffix.lower() not in arrays.SUFFIXES:
        return False
    others = path.name.startswith(("DESIGNINFO", "RUNWISEFIR", "TYPEA", "TYPEB", "TYPEC"))
    return not others


def _kinds(paths: Sequence[Path]) -> dict[str, int]:
    return dict(Counter(path.suffix.lower() for path in paths).most_common(5))


def _stimuli(data: Path, paths: list[Path], notes: _Notes) -> Stimuli:
    """Ids are names without suffix; where two files would have one, paths without it."""
    relative = {path: path.relative_to(data) for path in paths}
    stems = Counter(path.stem for path in paths)
    ids = {
        path: path.stem if stems[path.stem] == 1 else relative[path].with_suffix("").as_posix().replace("/", "_")
        for path in paths
    }
    if twice := [key for key, n in Counter(ids.values()).items() if n > 1]:
        notes.faults.append(f"two files of stimuli of one name: {', '.join(twice[:3])}; keep one of each")
    files = {ids[path]: path for path in sorted(paths, key=lambda path: ids[path])}
    ways: dict[str, set[str]] = defaultdict(set)
    for path, key in ids.items():
        for form in (key, path.name, path.stem, relative[path].as_posix(), relative[path].with_suffix("").as_posix()):
            ways[form].add(key)
    parts = {
        ids[path]: PARTS[part] for path in paths for part in map(str.lower, relative[path].parts[:-1]) if part in PARTS
    }
    if parts and len(parts) < len(ids):
        notes.faults.append("some stimuli lie in folders called train and test and others do not; move all into these")
    if files:
        kind = "images" if all(path.suffix.lower() in STILLS for path in paths) else "clips and images"
        kind = kind if any(path.suffix.lower() in STILLS for path in paths) else "clips"
        split = f", of these {Counter(parts.values())['test']:,} in a folder called test" if parts else ""
        notes.understood.append(f"{len(files):,} {kind}{split}")
    else:
        notes.understood.append("no images or clips")
    owners = {ids[path]: subject_of(relative[path].parent) for path in sorted(paths, key=lambda path: ids[path])}
    return Stimuli(files, owners, parts, {form: next(iter(keys)) for form, keys in ways.items() if len(keys) == 1})
