"""The values of a pickle: which names it may ask for, and what its bytes, lines and arrays become."""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORT = 256  # bytes; longer ones are array data: never decoded, kept as a buffer

SYMBOLS = (
    {
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "memmap"): "ndarray",
        ("numpy", "dtype"): "dtype",
        ("_codecs", "encode"): "encode",
        ("__builtin__", "bytes"): "bytes",
        ("collections", "OrderedDict"): "dict",
    }
    | {
        (f"numpy.{core}.{module}", name): symbol
        for core in ("core", "_core")
        for module, name, symbol in (
            ("multiarray", "_reconstruct", "array"),
            ("multiarray", "scalar", "scalar"),
            ("numeric", "_frombuffer", "frombuffer"),
        )
    }
    | {
        (f"nibabel.{module}", name): f"nibabel.{name}"
        for module, names in {
            "nifti1": ("Nifti1Image", "Nifti1Pair", "Nifti1Header", "Nifti1PairHeader", "Nifti1Extensions"),
            "arrayproxy": ("ArrayProxy",),
            "fileholders": ("FileHolder",),
        }.items()
        for name in names
    }
)


INSTEAD = {  # whose objects these are, and what to save in their place
    "joblib": "it was written by joblib: read it with joblib.load",
    "torch": "it holds tensors of torch: save their arrays (`tensor.numpy()`)",
    "pandas": "it holds a table of pandas: save its array (`.to_numpy()`)",
    "numpy.ma": "it holds a masked array: save it with NaN in the masked places (`.filled(numpy.nan)`)",
    "xarray": "it holds an array of xarray: save its values (`.to_numpy()`)",
}


class Refused(Exception):
    """Why the file is not read; becomes part of the `FileError`."""


@dataclass(frozen=True)
class _Symbol:
    """A name the file asks for. It cannot be called or changed."""

    name: str


class Unfinished:
    """A dtype or an array between its REDUCE and its BUILD, and where the file memoized it."""

    def __init__(self, dtype: np.dtype | None) -> None:
        self.dtype = dtype
        self.memoized: list[int] = []


def symbol_of(module: Any, name: Any) -> _Symbol:
    try:
        return _Symbol(SYMBOLS[module, name])
    except (KeyError, TypeError):
        asked = f"{str(module)[:80]}.{str(name)[:80]}"
    if "\r" in asked:
        raise Refused("its line ends were changed on the way: copy it as a binary file")
    why = next((what for package, what in INSTEAD.items() if f"{asked}.".startswith(f"{package}.")), "")
    raise Refused(f"it asks for {asked}" + (f"; {why}" if why else ""))


def decoded(raw: bytearray, kind: str) -> Any:
    if kind == "integer":
        if len(raw) > 32:
            raise Refused(f"it holds an integer of {len(raw)} bytes")
        return int.from_bytes(raw, "little", signed=True)
    if kind == "text":
        return raw.decode("utf-8", "surrogatepass")
    return raw.decode("latin1") if kind == "python2" and len(raw) < SHORT else raw


def parsed(line: bytes, opcode: bytes) -> Any:
    if opcode == b"V":
        return line.decode("raw-unicode-escape")
    if opcode == b"S":
        if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
            raise ValueError("a string without quotes")
        return decoded(bytearray(codecs.escape_decode(line[1:-1])[0]), "python2")
    if len(line) > 80:
        raise Refused(f"it holds a number of {len(line)} characters")
    if opcode == b"F":
        return float(line)
    return line == b"01" if opcode == b"I" and line in (b"00", b"01") else int(line.removesuffix(b"L"))


def dtype_of(spec: str) -> np.dtype:
    if not re.fullmatch(r"[biufcSU][0-9]{1,5}", spec):
        raise Refused(f"it holds an array of type {spec[:80]!r}; expected numbers")
    return np.dtype(spec)


def array_of(shape: tuple[Any, ...], dtype: np.dtype, data: Any, order: Any = "C") -> NDArray[Any]:
    """The array over the bytes read, after its shape is seen to fit them."""
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray | memoryview) or any(type(size) is not int or size < 0 for size in shape):
        raise Refused("it holds an array without a shape or without data")
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(data) or len(shape) > 32:
        raise Refused(f"an array of shape {shape[:32]} needs {needed} bytes, and there are {len(data)}")
    return np.ndarray(shape, dtype, bytearray(data) if isinstance(data, bytes) else data, order=order)
