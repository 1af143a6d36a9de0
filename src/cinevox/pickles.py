"""Pickles of arrays, read as data: a reader of the pickle language that can build arrays and nothing else.

A pickle is a program, and Python's own unpickler runs it. This reader knows the opcodes of protocols 0 to 5
that make up plain data, and eight names (numpy's arrays, dtypes and scalars) as mere symbols: nothing is
imported, called, subclassed or changed because a file asks for it, no size is believed before the file is seen
to be that long, and the work is bounded by `MAX_OPCODES`. Array data go from the file into the array, once.

Reference: the opcodes' definitions in the standard library's `pickletools`.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cinevox.errors import FileError

MAX_OPCODES = 200_000  # a response pickle has some dozens
SHORT = 256  # bytes; longer ones are array data: never decoded, kept as a buffer

_SYMBOLS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("collections", "OrderedDict"): "dict",
} | {
    (f"numpy.{core}.{module}", name): symbol
    for core in ("core", "_core")
    for module, name, symbol in (
        ("multiarray", "_reconstruct", "array"),
        ("multiarray", "scalar", "scalar"),
        ("numeric", "_frombuffer", "frombuffer"),
    )
}
_CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False}
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
_PAYLOADS = {  # opcode: how its length is written, what it holds
    **{b"U": ("<B", "python2"), b"T": ("<i", "python2"), b"X": ("<I", "text"), b"\x8c": ("<B", "text")},
    **{b"\x8d": ("<Q", "text"), b"C": ("<B", "bytes"), b"B": ("<I", "bytes"), b"\x8e": ("<Q", "bytes")},
    **{b"\x96": ("<Q", "bytes"), b"\x8a": ("<B", "integer"), b"\x8b": ("<i", "integer")},
}
_LINES = frozenset((b"I", b"L", b"F", b"S", b"V"))
_PUTS = {b"q": "<B", b"r": "<I"}
_GETS = {b"h": "<B", b"j": "<I"}
_EMPTIES: dict[bytes, Callable[[], Any]] = {b"]": list, b"}": dict, b")": tuple}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_FOREIGN = {
    b"\x1f\x8b": "it is compressed with gzip: decompress it first",
    b"PK": "it is a zip archive: unpack it first",
    b"\x89HDF": "it is an HDF5 file",
    b"\x93NUMPY": "it is a .npy file",
    b"version https://git-lfs": "it is a Git LFS pointer: run `git lfs pull`",
    b"<": "it is a web page or XML, as a failed download leaves it",
}


class _Refused(Exception):
    """Why the file is not read; becomes part of the `FileError`."""


@dataclass(frozen=True)
class _Symbol:
    """A name the file asks for. It cannot be called or changed."""

    name: str


class _Unfinished:
    """A dtype or an array between its REDUCE and its BUILD, and where the file memoized it."""

    def __init__(self, dtype: np.dtype | None) -> None:
        self.dtype = dtype
        self.memoized: list[int] = []


def read_pickle(path: Path) -> Any:
    """Open a pickle of arrays, dicts, lists, text and numbers, Python 2's too, without running anything in it.

    Strings of Python 2 are latin1: text up to 255 bytes, longer ones stay a `bytearray`.

    Raises
    ------
    FileError
        The file is missing, cut off, no pickle, or asks for anything that is not plain data.
    """
    try:
        if not path.is_file():
            raise FileError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as stream:
            return _Reader(stream, path.stat().st_size).load()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except _Refused as refusal:
        raise FileError(
            f"{path}: refused: {_foreign(path) or refusal}. A response pickle holds numpy arrays of numbers, dicts "
            "and plain numbers only, and nothing in it was run. Fetch the file again from where it was published; "
            "if it is yours, save a dict of float arrays."
        ) from None


def _foreign(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(32)
    return next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), "")


class _Reader:
    """One pass over one file: a stack, the marks in it, and the memo."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.encodable = size  # text turned into bytes is text of the file, once

    def load(self) -> Any:
        for _ in range(MAX_OPCODES):
            opcode = bytes(self.take(1))
            if opcode == b".":
                return self.finish()
            try:
                self.step(opcode)
            except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
                where = self.stream.tell()
                raise _Refused(f"it is damaged near byte {where} ({type(error).__name__}: {error})") from None
        raise _Refused(f"it has more than {MAX_OPCODES} instructions")

    def finish(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise _Refused("it is damaged: it ends in the middle of a value")
        todo, seen = list(self.stack), set()
        while todo:
            item = todo.pop()
            if isinstance(item, _Symbol | _Unfinished):
                raise _Refused("it holds a function or an unfinished array")
            if isinstance(item, dict | list | tuple) and id(item) not in seen:
                seen.add(id(item))
                todo.extend(item.values() if isinstance(item, dict) else item)
        return self.stack[0]

    def take(self, count: int) -> bytearray:
        here = self.stream.tell()
        if not 0 <= count <= self.size - here:
            raise _Refused(
                f"it is cut off or damaged: {count} more bytes expected at byte {here} of {self.size}"
                if self.size
                else "it is empty"
            )
        buffer = bytearray(count)
        if self.stream.readinto(buffer) != count:  # type: ignore[attr-defined]
            raise _Refused("it changed while it was read")
        return buffer

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def line(self) -> bytes:
        line = self.stream.readline()
        if not line.endswith(b"\n"):
            raise _Refused(f"it is cut off at byte {self.size}")
        return line[:-1]

    def to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def gather(self, kind: type) -> None:
        items = self.to_mark()
        self.stack.append(kind(items))

    def step(self, opcode: bytes) -> None:
        push = self.stack.append
        if opcode in _CONSTANTS:
            push(_CONSTANTS[opcode])
        elif opcode in _NUMBERS:
            push(self.number(_NUMBERS[opcode]))
        elif opcode in _PAYLOADS:
            length, kind = _PAYLOADS[opcode]
            push(_decoded(self.take(self.number(length)), kind))
        elif opcode in _LINES:
            push(_parsed(self.line(), opcode))
        elif opcode in _EMPTIES:
            push(_EMPTIES[opcode]())
        elif opcode in _PUTS or opcode in (b"p", b"\x94"):
            self.put(self.number(_PUTS[opcode]) if opcode in _PUTS else self.index(opcode))
        elif opcode in _GETS or opcode == b"g":
            push(self.memo[self.number(_GETS[opcode]) if opcode in _GETS else self.index(opcode)])
        elif opcode in _TUPLES:
            items = self.popped(_TUPLES[opcode])
            push(tuple(items))
        else:
            self.act(opcode)

    def act(self, opcode: bytes) -> None:
        push = self.stack.append
        match opcode:
            case b"\x80":
                self.protocol(self.number("<B"))
            case b"\x95":
                if self.number("<Q") > self.size:
                    raise _Refused("it is cut off or damaged: a frame is longer than the file")
            case b"(":
                self.marks.append(len(self.stack))
            case b"0":
                self.popped(1)
            case b"1":
                self.to_mark()
            case b"2":
                push(self.stack[-1])
            case b"t":
                self.gather(tuple)
            case b"l":
                self.gather(list)
            case b"d":
                items = self.to_mark()
                push({})
                self.set(items)
            case b"a" | b"e":
                self.append(self.popped(1) if opcode == b"a" else self.to_mark())
            case b"s" | b"u":
                self.set(self.popped(2) if opcode == b"s" else self.to_mark())
            case b"c":
                push(_symbol(self.line().decode("latin1"), self.line().decode("latin1")))
            case b"\x93":
                push(_symbol(*self.popped(2)))
            case b"R":
                push(self.reduced(*self.popped(2)))
            case b"b":
                self.build(*self.popped(2))
            case _:
                raise _Refused(_unknown(opcode, self.stream.tell() - 1))

    def protocol(self, version: int) -> None:
        if version > 5:
            raise _Refused(f"it is of pickle protocol {version}; expected 0 to 5")

    def popped(self, count: int) -> list[Any]:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise _Refused(f"it is damaged near byte {self.stream.tell()}")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def index(self, opcode: bytes) -> int:
        return len(self.memo) if opcode == b"\x94" else int(self.line())

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]
        if isinstance(self.stack[-1], _Unfinished):
            self.stack[-1].memoized.append(index)

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _Refused(f"it appends to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def set(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if type(target) is not dict or len(items) % 2 or any(type(key) not in (str, int) for key in keys):
            raise _Refused("it sets something other than text or integer keys of a dict")
        target.update(zip(keys, items[1::2]))

    def reduced(self, function: Any, arguments: Any) -> Any:
        """What a call of a symbol stands for. Sizes that the file names here are not believed."""
        if not isinstance(function, _Symbol) or type(arguments) is not tuple:
            raise _Refused("it calls something that is no function of numpy")
        match function.name, arguments:
            case "array", (_Symbol("ndarray"), _, _):
                return _Unfinished(None)
            case "dtype", (str(spec), *_):
                return _Unfinished(_dtype(spec))
            case "scalar", (np.dtype() as dtype, data):
                return _array((), dtype, data)[()]
            case "frombuffer", (data, np.dtype() as dtype, tuple(shape), str(order), *axes):
                if order == "K" and axes and axes[0] is not None:
                    return _array(shape, dtype, data).transpose(axes[0])
                return _array(shape, dtype, data, "F" if order == "F" else "C")
            case "encode", (str(text), "latin1" | "latin-1"):
                self.encodable -= len(text)
                if self.encodable < 0:
                    raise _Refused("it repeats the same data over and over")
                return bytearray(text.encode("latin1"))
            case ("bytes", ()) | ("dict", ()):
                return {} if function.name == "dict" else b""
        raise _Refused(f"it calls {function.name} with unusual arguments")

    def build(self, target: Any, state: Any) -> None:
        finished: Any
        match target, state:
            case _Unfinished(dtype=None), (1, tuple(shape), np.dtype() as dtype, fortran, data):
                finished = _array(shape, dtype, data, "F" if fortran else "C")
            case _Unfinished(dtype=np.dtype() as dtype), (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
                finished = dtype if order == "|" else dtype.newbyteorder(order)
            case _Unfinished(), _:
                raise _Refused("it holds an array of Python objects or records, or one of an unknown layout")
            case _:
                raise _Refused(f"it changes the insides of a {type(target).__name__}")
        for index in target.memoized:
            self.memo[index] = finished
        self.stack.append(finished)


def _unknown(opcode: bytes, where: int) -> str:
    if opcode in b"PQ":
        return "it refers to objects outside the file"
    if opcode in b"io\x81\x92\x82\x83\x84":
        return "it makes an object of a class of its own"
    return f"byte {where} ({opcode!r}) is no instruction of a pickle of plain data"


def _symbol(module: Any, name: Any) -> _Symbol:
    try:
        return _Symbol(_SYMBOLS[module, name])
    except (KeyError, TypeError):
        raise _Refused(f"it asks for {str(module)[:80]}.{str(name)[:80]}") from None


def _decoded(raw: bytearray, kind: str) -> Any:
    if kind == "integer":
        if len(raw) > 32:
            raise _Refused(f"it holds an integer of {len(raw)} bytes")
        return int.from_bytes(raw, "little", signed=True)
    if kind == "text":
        return raw.decode("utf-8", "surrogatepass")
    return raw.decode("latin1") if kind == "python2" and len(raw) < SHORT else raw


def _parsed(line: bytes, opcode: bytes) -> Any:
    if opcode == b"V":
        return line.decode("raw-unicode-escape")
    if opcode == b"S":
        if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
            raise ValueError("a string without quotes")
        return _decoded(bytearray(codecs.escape_decode(line[1:-1])[0]), "python2")
    if len(line) > 80:
        raise _Refused(f"it holds a number of {len(line)} characters")
    if opcode == b"F":
        return float(line)
    return line == b"01" if opcode == b"I" and line in (b"00", b"01") else int(line.removesuffix(b"L"))


def _dtype(spec: str) -> np.dtype:
    if not re.fullmatch(r"[biufcSU][0-9]{1,5}", spec):
        raise _Refused(f"it holds an array of type {spec[:80]!r}; expected numbers")
    return np.dtype(spec)


def _array(shape: tuple[Any, ...], dtype: np.dtype, data: Any, order: Any = "C") -> NDArray[Any]:
    """The array over the bytes read, after its shape is seen to fit them."""
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or any(type(size) is not int or size < 0 for size in shape):
        raise _Refused("it holds an array without a shape or without data")
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(data) or len(shape) > 32:
        raise _Refused(f"an array of shape {shape[:32]} needs {needed} bytes, and there are {len(data)}")
    return np.ndarray(shape, dtype, data if isinstance(data, bytearray) else bytearray(data), order=order)
