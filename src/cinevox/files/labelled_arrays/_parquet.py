"""Files of parquet: a column of labels, and columns of numbers or of lists of numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError
from cinevox.files.labelled_arrays._parts import NAME, SIGNS, Opened, listed, refuse_absurd, stem_fault

LABELS = "id"  # the column of labels, if the first one is not
INDEX = re.compile(r"__index_level_\d+__")  # the numbers of rows, which pandas writes as a column


def open_parquet(path: Path) -> Opened:
    """Open a table. Columns of numbers are one array, named as the file; one of lists is an array by itself.

    Errors as pyarrow raises them.

    Raises
    ------
    FileError
        There is no column of labels, or two columns have one name.
    """
    label, fields = _fields(path)
    ids = tuple(text or "" for text in _column(path, label).to_pylist())
    faults = [f"column {name!r} holds {kind}; expected numbers or lists of numbers" for name, kind in _others(fields)]
    plain = [name for name, kind in fields.items() if _is_number(kind)]
    shapes: dict[str, tuple[int, ...]] = {}
    if plain:
        shapes[path.stem] = (len(ids), len(plain))
        faults += filter(None, [stem_fault(path)])
    for name in (name for name, kind in fields.items() if _is_list(kind)):
        lengths = _lengths(_column(path, name))
        if name in shapes or not NAME.fullmatch(name):
            faults.append(f"a column of lists is called {name!r}; expected {SIGNS}, and another name than the file's")
        elif len(lengths) == 1 and lengths[0] is not None:
            shapes[name] = (len(ids), lengths[0])
        else:
            told = listed(["missing" if length is None else str(length) for length in lengths])
            faults.append(f"column {name!r} has lists of lengths {told}; expected one length")
    lists = set(shapes) - ({path.stem} if plain else set())
    return Opened(ids, shapes, lambda name: _numbers(path, [name] if name in lists else plain), faults)


def _fields(path: Path) -> tuple[str, dict[str, Any]]:
    """The column of labels, and name -> pyarrow type of the others."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        values = sum(group.column(index).num_values for group in groups for index in range(metadata.num_columns))
        refuse_absurd(8 * values, path)
    kinds = {field.name: field.type for field in schema if not INDEX.fullmatch(field.name)}
    label = LABELS if LABELS in kinds else next(iter(kinds), LABELS)
    if not _is_text(kinds.get(label)) or len({*schema.names}) < len(schema.names):
        there = listed([f"{field.name} ({field.type})" for field in schema]) or "no column"
        raise FileError(f"{path}: expected a column {LABELS} of text, and no two of one name; found {there}")
    return label, {name: kind for name, kind in kinds.items() if name != label}


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    inner = kind.value_type if kind is not None and pa.types.is_dictionary(kind) else kind
    return inner is not None and (pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return any(is_kind(kind) for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean))


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    is_list = any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))
    return is_list and _is_number(kind.value_type)


def _others(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, kind) for name, kind in fields.items() if not _is_number(kind) and not _is_list(kind)]


def _column(path: Path, name: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read(columns=[name]).column(name)  # columns may be more: those whose names begin so, and a dot


def _lengths(column: Any) -> list[int | None]:
    """The different lengths of its lists; None among them where a list is missing."""
    import pyarrow.compute as pc

    found: list[int | None] = pc.unique(pc.list_value_length(column)).to_pylist()
    return [*found, None] if column.null_count and None not in found else found


def _numbers(path: Path, names: list[str]) -> NDArray[np.float64]:
    """Columns of numbers side by side, or the one of lists: (n_rows, n_values); what is missing is NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def numbers(column: Any) -> NDArray[np.float64]:
        flat = pc.list_flatten(column) if _is_list(column.type) else column
        values: NDArray[np.float64] = flat.cast(pa.float64(), safe=False).to_numpy()
        return values.reshape(len(column), -1)

    return np.concatenate([numbers(_column(path, name)) for name in names], axis=1)
