"""A trials table of loose files, in the study repository: betas are copied into one layout, stimuli are linked to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.measured.trials_table import writing
from cinevox.own_study.loose import LooseStudy
from cinevox.own_study.subject_trials import Responses, counted


def write(study: LooseStudy, target: Path, title: str, progress: Callable[[Iterable, int, str], Iterable]) -> None:
    """Write the table, whole or not at all.

    Every stimulus is a link of its own: DVC follows links to files, and none to folders within a folder.

    Raises
    ------
    InputError
        No voxel of a subject has a value in every trial.
    """
    files = {path for own in study.subjects.values() for path in own.sources}
    made_from = {
        "study": title,
        "subjects": dict.fromkeys(study.subjects, ""),
        "data": str(study.data.resolve()),
        "files": {str(path.resolve()): _state(path) for path in sorted(files)},
    }
    table = writing.TableWriter(target, made_from)
    faults = []
    for name, own in study.subjects.items():
        writer = table.subject(name, _trials(own), own.units, "<f4")
        for block in progress(own.blocks(), own.n_blocks, name):
            writer.append(block)
        try:
            table.keep(writer, _sidecar(own), "")
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    lines = []
    for key in study.ids:
        original = study.stimuli.files.get(key)
        file = None if original is None else f"{writing.STIMULUS_FILES}/{key}{original.suffix.lower()}"
        if original is not None and file is not None:
            link = table.folder / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(original.resolve())
        lines.append({"stimulus_id": key, "file": file, "split": study.stimuli.parts.get(key, "train")})
    description = {
        "Name": title, "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "cinevox"}],
        "cinevox": {"restricted": True},
    }  # fmt: skip
    people = pd.DataFrame({"participant_id": list(study.subjects)})
    table.finish(tuple(study.subjects), pd.DataFrame(lines), people, description, {})


def _trials(own: Responses) -> pd.DataFrame:
    found = pd.DataFrame({"stimulus_id": own.stimuli, "session": own.sessions})
    if own.runs is not None:
        found["run"] = own.runs
    return found.assign(repetition=counted(own.stimuli))


def _sidecar(own: Responses) -> dict[str, object]:
    found: dict[str, object] = {"Normalized": "none", "Pipeline": f"as in {own.sources[0].name}"}
    if own.inside is not None and own.affine is not None:
        found |= {"Affine": own.affine.tolist(), "Shape": list(own.inside.shape)}
    return found


def keep_corrections(old: Path, new: Path) -> list[str]:
    """Write into a table what somebody corrected in the one before: a sentence for each file.

    They are the sidecars' `Normalized`, and name, licence and `restricted` of the description.
    """
    told = []
    for file in (new / writing.DESCRIPTION, *sorted(new.glob("sub-*/sub-*_betas.json"))):
        before = old / file.relative_to(new)
        if not before.is_file():
            continue
        known, fresh = io.read_json(before), io.read_json(file)
        kept = {key: known[key] for key in ("Normalized", "Name", "License") if key in known}
        if "cinevox" in fresh and "restricted" in known.get("cinevox", {}):
            kept["cinevox"] = fresh["cinevox"] | {"restricted": known["cinevox"]["restricted"]}
        if differ := [key for key, value in kept.items() if fresh.get(key) != value]:
            io.write_json(file, fresh | kept)
            told.append(f"{file.relative_to(new)}: kept as it was corrected: {', '.join(differ)}")
    return told


def changed(table: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The folder of loose files that a table was made from, and which of them changed since; None where it has none.

    Files that are not on this machine count as they were.
    """
    content = io.read_json(table / writing.DESCRIPTION) if (table / writing.DESCRIPTION).is_file() else {}
    made_from = content.get("cinevox", {}).get("made_from", {})
    if "data" not in made_from:
        return None, ()
    files = {Path(name): state for name, state in made_from["files"].items()}
    differ = [str(path) for path, state in files.items() if path.is_file() and _state(path) != state]
    return Path(made_from["data"]), tuple(differ)


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
