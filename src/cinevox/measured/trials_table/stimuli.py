"""The stimuli of a study: stimuli.tsv, and the images or clips that it names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cinevox.errors import FileError
from cinevox.files import io, links
from cinevox.measured.trials_table import tables
from cinevox.measured.trials_table.layout import MISSING, STIMULI, STIMULI_COLUMNS
from cinevox.measured.trials_table.tables import (
    Faults,
    Table,
    close_names,
    is_missing,
    numbers,
    read_table,
    repeated,
    told,
    told_where,
)
from cinevox.project.params.names import outside

PARTS = ("train", "test")
WARNINGS = (*tables.WARNINGS, "not_here", "left_out")  # rules that may be broken


@dataclass(frozen=True)
class Stimuli:
    """The table of stimuli. Its order means nothing."""

    folder: Path
    table: Table

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.table.frame["stimulus_id"])

    @cached_property
    def columns(self) -> dict[str, dict[str, str]]:
        """Stimulus -> what the table says of it, by column; cells without a value are left out."""
        records = self.table.frame.to_dict("records")
        return {
            str(record["stimulus_id"]): {
                str(name): str(cell) for name, cell in record.items() if cell not in ("", MISSING)
            }
            for record in records
        }

    @cached_property
    def files(self) -> dict[str, Path | None]:
        """Stimulus -> its image or clip; None where that is not on this disk."""
        named = {key: columns.get("file") for key, columns in self.columns.items()}
        return {key: self._there(name) if name else None for key, name in named.items()}

    def _there(self, name: str) -> Path | None:
        path = self.folder / name
        return path if not outside(name) and path.is_file() else None

    @cached_property
    def contents(self) -> dict[str, str]:
        """Stimulus -> SHA-256 of its file, or else as the table says.

        Files are read where the table says one, and where another file has as many bytes.
        """
        said = {key: columns["sha256"].lower() for key, columns in self.columns.items() if "sha256" in columns}
        sizes = defaultdict(list)
        for key, path in self.files.items():
            if path is not None:
                sizes[path.stat().st_size].append(key)
        read = {key for keys in sizes.values() for key in keys if len(keys) > 1 or key in said}
        return said | {key: io.sha256(path) for key in sorted(read) if (path := self.files[key]) is not None}

    @cached_property
    def same(self) -> list[tuple[str, str]]:
        """Pairs of stimuli whose content is the same under two ids: each but the first of a content, with the first."""
        first: dict[str, str] = {}
        pairs = [(first.setdefault(digest, key), key) for key, digest in sorted(self.contents.items())]
        return [(one, other) for one, other in pairs if one != other]

    @cached_property
    def faults(self) -> Faults:
        """Rule -> the lines that break it."""
        frame = self.table.frame
        ids, files, durations, sums = (
            frame["stimulus_id"],
            frame["file"],
            *map(self.table.column, ("duration", "sha256")),
        )
        named, lengths = ~is_missing(files), numbers(durations)
        short = ~is_missing(durations) & ~((lengths > 0) & np.isfinite(lengths))
        return {
            "fault": self.table.fault,
            "without_id": told_where(ids, is_missing(ids)),
            "id_twice": told_where(ids, repeated(ids) & ~is_missing(ids)),
            "outside": told((int(line), why) for line, name in files[named].items() if (why := self._leads_out(name))),
            "file_twice": told_where(files, repeated(files) & named),
            "bad_duration": told_where(durations, short),
            "bad_sha256": self._bad_sums(sums.mask(is_missing(sums))),
            "not_here": self._not_here(),
            "left_out": self._left_out(),
            "close_name": close_names(self.table, STIMULI_COLUMNS),
        }

    def _leads_out(self, name: str) -> str | None:
        if why := outside(name):
            return f"{name}: {why}"
        if not (self.folder / name).exists():
            return None
        try:
            links.inside(self.folder / name, self.folder)
        except FileError as error:
            return str(error)
        return None

    def _bad_sums(self, sums: Mapping[int, str]) -> str | None:
        ids = self.table.frame["stimulus_id"]
        found = []
        for line, said in sums.items():
            if not isinstance(said, str):
                continue
            key = ids[line]
            if not re.fullmatch("[0-9a-fA-F]{64}", said):
                found.append((line, f"{said[:20]} is no SHA-256"))
            elif self.files[key] is not None and self.contents[key] != said.lower():
                found.append((line, f"{key}'s file has {self.contents[key][:8]}..., the table {said[:8]}..."))
        return told(found)

    def _not_here(self) -> str | None:
        missing = [key for key, path in self.files.items() if path is None]
        shown = f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
        return f"{len(missing):,} of {len(self.files):,} stimuli: {shown}" if missing else None

    def _left_out(self) -> str | None:
        if "split" not in self.table.frame:
            return None
        split = self.table.frame["split"]
        others = {str(name): int(n) for name, n in split[~split.isin(PARTS)].value_counts().sort_index().items()}
        return ", ".join(f"{n:,} of {name or MISSING}" for name, n in others.items()) or None


def read_stimuli(folder: Path) -> Stimuli:
    """Read stimuli.tsv; what is wrong with it is in `faults`."""
    return Stimuli(folder, read_table(folder / STIMULI, STIMULI_COLUMNS))
