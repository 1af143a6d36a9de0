"""The text of a parameters file: read as DVC reads it, and with other values in it, both by ruamel.yaml as DVC has it.

`dvc exp run -S` writes a params.yaml of its own form: lists stretched, long lines wrapped, comments moved.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, PlainScalarString
from ruamel.yaml.tokens import CommentToken

from cinevox.errors import FileError, InputError

_CONFLICT = re.compile(r"^<{7} .*$|^>{7} .*$", re.M)
_WIDTH = 1 << 20  # of a line: none is wrapped


class _AsWritten(VersionedResolver):
    """Takes every scalar for a word, so that it stays as it is written: ruamel.yaml changes digits of long numbers."""

    versioned_resolver: ClassVar[dict[str, Any]] = {}


def read(text: str) -> Any:
    """The values of a YAML text, as DVC takes them. Errors: YAMLError, also where a key stands twice in a mapping."""
    return YAML(typ="safe").load(text)


def read_file(path: Path) -> Any:
    """The values of a YAML file.

    Raises
    ------
    FileNotFoundError
        It is not there.
    FileError
        It is not UTF-8, has marks of a merge conflict, is not YAML, or has a key twice in a mapping.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FileError(
            f"{path}: line {line}: byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8; save the file in UTF-8, "
            f"or, from Latin-1: iconv -f latin1 -t utf8 {path} > new.yaml && mv new.yaml {path}"
        ) from None
    if conflict := _CONFLICT.search(text):
        line = text[: conflict.start()].count("\n") + 1
        raise FileError(
            f"{path}: line {line}: a merge left its conflict here; edit the file, or take one side of it: "
            f"git checkout --ours {path} (or --theirs); then git add {path}"
        )
    try:
        return read(text)
    except DuplicateKeyError as error:
        mark, outer = error.problem_mark, error.context_mark
        key = text.splitlines()[mark.line][mark.column :].partition(":")[0]
        raise FileError(
            f"{path}: line {mark.line + 1}: {key} is there twice in the mapping that begins "
            f"in line {outer.line + 1}; give one of them another name, or remove it"
        ) from None
    except YAMLError as error:
        raise FileError(f"{path}: not YAML: {error}") from None


def rewritten(text: str, values: Mapping[str, Any]) -> str:
    """`text`, a YAML mapping of mappings, with these values: comments, order and form of what is equal are kept.

    A new key comes last in its mapping; a changed list or value is written on one line.

    Raises
    ------
    InputError
        The text is not one YAML mapping, or its form is such that the values can't be put into it.
    """
    yaml = YAML()
    yaml.Resolver = _AsWritten
    yaml.width, yaml.preserve_quotes = _WIDTH, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    if not isinstance(document, CommentedMap):
        raise InputError("no YAML mapping; take the parameters from git: git checkout params.yaml")
    _fit(document, read(text), values)
    written = io.StringIO()
    yaml.dump(document, written)
    try:
        same = _same(read(written.getvalue()), values)
    except YAMLError:
        same = False
    if not same:
        raise InputError("the values don't fit into the form of the text; edit the file by hand")
    return written.getvalue()


def _fit(mapping: CommentedMap, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Change what differs. What stands below an entry, of the next one, stays there."""
    for name in [name for name in before if name not in after]:
        below, place = _taken(mapping, name), list(mapping).index(name)
        del mapping[name]
        mapping.ca.items.pop(name, None)
        if place:
            _put(mapping, list(mapping)[place - 1], below)
        elif mapping:
            mapping.ca.items.setdefault(next(iter(mapping)), [None] * 4)[1] = [
                CommentToken(below, CommentMark(0), None)
            ]
    for name, value in after.items():
        if name in before and _same(before[name], value):
            continue
        if isinstance(value, dict) and value and isinstance(before.get(name), dict) and before[name]:
            _fit(mapping[name], before[name], value)
            continue
        last = name if name in mapping else next(reversed(mapping), None)
        below = "" if last is None else _taken(mapping, last)
        mapping[name] = _written(value)
        _put(mapping, name, below)


def _slot(parent: Any, key: Any) -> tuple[list[Any], int]:
    """Find where the comment behind and below an entry is kept: with the last leaf in it."""
    value = parent[key]
    if isinstance(value, CommentedMap | CommentedSeq) and value and not value.fa.flow_style():
        return _slot(value, next(reversed(value)) if isinstance(value, CommentedMap) else len(value) - 1)
    return parent.ca.items.setdefault(key, [None] * 4), 0 if isinstance(parent, CommentedSeq) else 2


def _taken(parent: CommentedMap, key: str) -> str:
    """Take away what stands below an entry's own line."""
    slot, at = _slot(parent, key)
    if slot[at] is None:
        return ""
    own, _, below = slot[at].value.partition("\n")
    slot[at].value = own + "\n"
    return below


def _put(parent: CommentedMap, key: str, below: str) -> None:
    if below:
        slot, at = _slot(parent, key)
        slot[at] = slot[at] or CommentToken("\n", CommentMark(0), None)
        slot[at].value += below


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type: 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _written(value: Any) -> Any:
    """A value as it is written on one line."""
    if isinstance(value, Mapping):
        found: Any = CommentedMap({_written(key): _written(item) for key, item in value.items()})
    elif isinstance(value, list):
        found = CommentedSeq(map(_written, value))
    elif isinstance(value, str):
        plain = re.fullmatch(r"[\w/]([\w./ -]*[\w./-])?", value) and read(value) == value
        return PlainScalarString(value) if plain else DoubleQuotedScalarString(value)
    else:
        return PlainScalarString(json.dumps(value).replace("Infinity", ".inf").replace("NaN", ".nan"))
    found.fa.set_flow_style()
    return found
