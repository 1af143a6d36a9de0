"""The text of a parameters file: read as DVC reads it, and with other values in it.

`dvc exp run -S` writes a params.yaml of its own form: lists stretched, long lines wrapped, comments moved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cinevox.errors import FileError, InputError

_CONFLICT = re.compile(r"^<{7} .*$|^>{7} .*$", re.M)
Edit = tuple[int, int, str]  # from, to (characters of the text), what stands there instead


class TextError(InputError):
    """A text is no YAML document that can be used; the message does not name its file."""


class _Loader(yaml.SafeLoader):
    """With places in the text."""


class _Reader(yaml.CSafeLoader):
    """Without; twenty times as fast. A key that stands twice in a mapping is refused, as DVC refuses it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and lines.setdefault(key.value, line) != line:
                raise TextError(
                    f"line {line}: {key.value} stands there twice, first in line {lines[key.value]}; "
                    "give one of them another name, or remove it"
                )
        return super().construct_mapping(node, deep)


for loader in (_Loader, _Reader):  # YAML 1.2's floats: 1e-06, as DVC writes it, is a number there and a word to PyYAML
    loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def read(text: str) -> Any:
    """The values of a YAML text, numbers as DVC takes them. Errors: yaml.YAMLError; TextError where a key is double."""
    return yaml.load(text, _Reader)


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
    except TextError as error:
        raise FileError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise FileError(f"{path}: not YAML: {error}") from None


def rewritten(text: str, values: Mapping[str, Any]) -> str:
    """`text`, a YAML mapping of mappings, with these values: comments, order and form of what is equal are kept.

    A new key comes last in its mapping; a changed list or value is written on one line.

    Raises
    ------
    InputError
        The text is not one YAML mapping, or its form is such that the values can't be put into it.
    """
    text = text.removesuffix("\n") + "\n"
    root = yaml.compose(text, _Loader)
    if not isinstance(root, yaml.MappingNode):
        raise InputError("no YAML mapping; take the parameters from git: git checkout params.yaml")
    for start, end, new in sorted(_edits(text, root, values), reverse=True):
        text = text[:start] + new + text[end:]
    try:
        same = _same(read(text), values)
    except yaml.YAMLError:
        same = False
    if not same:
        raise InputError("the values don't fit into the form of the text; edit the file by hand")
    return text


def _edits(text: str, mapping: yaml.MappingNode, values: Mapping[str, Any]) -> Iterator[Edit]:
    found = {key.value: (key, node) for key, node in mapping.value}
    if mapping.flow_style or not found.keys() & values.keys():
        yield _replacement(text, mapping, _flow(values, _sources(text, mapping)))
        return
    for name, (key, node) in found.items():
        if name not in values:
            start = text.rindex("\n", 0, key.start_mark.index) + 1 if key.start_mark.line else 0
            yield start, text.index("\n", _end(node)) + 1, ""
        elif _same(_value(text, node), values[name]):
            continue
        elif isinstance(node, yaml.MappingNode) and isinstance(values[name], dict):
            yield from _edits(text, node, values[name])
        else:
            yield _replacement(text, node, _flow(values[name]))
    last_key, last = mapping.value[-1]
    place, indent = text.index("\n", _end(last)) + 1, " " * last_key.start_mark.column
    added = (f"{indent}{_flow(name)}: {_flow(value)}\n" for name, value in values.items() if name not in found)
    yield place, place, "".join(added)


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type: 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _replacement(text: str, node: yaml.Node, new: str) -> Edit:
    """A comment behind the value stays in its column where it can."""
    start, end = node.start_mark.index, _end(node)
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        new = " " + new  # it may stand in its key's own column
    elif text[start - 1 : start] == ":":
        new = " " + new  # there was no value
    space = len(text[end:]) - len(text[end:].lstrip(" "))
    if not space or text[end + space : end + space + 1] != "#":
        return start, end, new
    return start, end + space, new.ljust(end + space - start - 1) + " "


def _sources(text: str, mapping: yaml.MappingNode) -> dict[str, tuple[Any, str]]:
    """Key -> value, and how it is written."""
    return {
        key.value: (_value(text, node), text[node.start_mark.index : _end(node)])
        for key, node in mapping.value
        if mapping.flow_style
    }


def _value(text: str, node: yaml.Node) -> Any:
    indent = " " * node.start_mark.column  # of a block's first line, as of its others
    return read(indent + text[node.start_mark.index : _end(node)])


def _flow(value: Any, sources: Mapping[str, tuple[Any, str]] | None = None) -> str:
    """On one line; what is as it was in `sources` is written as it was there."""
    if isinstance(value, Mapping):
        known = sources or {}
        parts = (
            f"{_flow(key)}: {known[key][1] if key in known and _same(known[key][0], item) else _flow(item)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[\w./]([\w./ -]*[\w./-])?", value) and read(value) == value
        return value if plain else json.dumps(value)
    return yaml.safe_dump(value).removesuffix("...\n").strip()


def _end(node: yaml.Node) -> int:
    """Where the last value inside a node ends; a block's own mark lies behind the comments after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
