"""The reader: a stack machine over the opcodes of plain data."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np

from cinevox.files.pickles.buffers import LARGE, Latin1, latin1_of, mapped
from cinevox.files.pickles.images import Opaque, UnfinishedImage, inside_record, record_of
from cinevox.files.pickles.values import Refused, Unfinished, _Symbol, array_of, decoded, dtype_of, parsed, symbol_of

MAX_OPCODES = 200_000  # a response pickle has some dozens

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


class Reader:
    """One pass over one file: a stack, the marks in it, and the memo."""

    def __init__(self, stream: BinaryIO, size: int, mapped: bool = False) -> None:
        self.stream, self.size, self.mapped = stream, size, mapped
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
                raise Refused(f"it is damaged near byte {where} ({type(error).__name__}: {error})") from None
        raise Refused(f"it has more than {MAX_OPCODES} instructions")

    def finish(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise Refused("it is damaged: it ends in the middle of a value")
        pending, seen = list(self.stack), set()
        while pending:
            item = pending.pop()
            if isinstance(item, _Symbol | Unfinished | Latin1):
                raise Refused("it holds a function or an unfinished array")
            if isinstance(item, Opaque):
                raise Refused(f"it holds a {item.what} that is no part of an image")
            if isinstance(item, dict | list | tuple) and id(item) not in seen:
                seen.add(id(item))
                pending.extend(item.values() if isinstance(item, dict) else item)
        return self.stack[0]

    def expect(self, count: int) -> int:
        """Return the position where the next `count` bytes begin, after checking that they are there."""
        here = self.stream.tell()
        if not 0 <= count <= self.size - here:
            raise Refused(
                f"it is cut off or damaged: {count} more bytes expected at byte {here} of {self.size}"
                if self.size
                else "it is empty"
            )
        return here

    def take(self, count: int) -> bytearray:
        self.expect(count)
        buffer = bytearray(count)
        if self.stream.readinto(buffer) != count:  # type: ignore[attr-defined]
            raise Refused("it changed while it was read")
        return buffer

    def payload(self, count: int, kind: str) -> Any:
        """Text, an integer, or bytes: array data, if they are many."""
        if count >= LARGE and kind == "text" and self.stack and self.stack[-1] == _Symbol("encode"):
            self.expect(count)
            pieces = (self.take(min(LARGE, count - start)) for start in range(0, count, LARGE))
            return latin1_of(pieces, to_file=self.mapped)
        if count >= LARGE and kind in ("bytes", "python2") and self.mapped:
            start = self.expect(count)
            self.stream.seek(count, 1)
            return self.whole[start : start + count]
        return decoded(self.take(count), kind)

    @cached_property
    def whole(self) -> memoryview:
        return mapped(self.stream)

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def line(self) -> bytes:
        line = self.stream.readline()
        if not line.endswith(b"\n"):
            raise Refused(f"it is cut off at byte {self.size}")
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
            push(self.payload(self.number(length), kind))
        elif opcode in _LINES:
            push(parsed(self.line(), opcode))
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
                    raise Refused("it is cut off or damaged: a frame is longer than the file")
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
                push(symbol_of(self.line().decode("latin1"), self.line().decode("latin1")))
            case b"\x93":
                push(symbol_of(*self.popped(2)))
            case b"R":
                push(self.reduced(*self.popped(2)))
            case b"b":
                self.build(*self.popped(2))
            case b"\x81" if (record := record_of(*self.popped(2))) is not None:
                push(record)
            case _:
                raise Refused(_unknown(opcode, self.stream.tell() - 1))

    def protocol(self, version: int) -> None:
        if version > 5:
            raise Refused(f"it is of pickle protocol {version}; expected 0 to 5")

    def popped(self, count: int) -> list[Any]:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise Refused(f"it is damaged near byte {self.stream.tell()}")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def index(self, opcode: bytes) -> int:
        return len(self.memo) if opcode == b"\x94" else int(self.line())

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]
        if isinstance(self.stack[-1], Unfinished):
            self.stack[-1].memoized.append(index)

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refused(f"it appends to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def set(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if any(isinstance(key, bytes | bytearray) for key in keys):
            raise Refused(
                "its keys are bytes, as `pickle.load(..., encoding='bytes')` makes them: save it with text keys"
            )
        if type(target) is not dict or len(items) % 2 or any(type(key) not in (str, int) for key in keys):
            raise Refused("it sets something other than text or integer keys of a dict")
        target.update(zip(keys, items[1::2]))

    def reduced(self, function: Any, arguments: Any) -> Any:
        """Return the value that a call of a symbol stands for. Sizes that the file gives here are not trusted."""
        if not isinstance(function, _Symbol) or type(arguments) is not tuple:
            raise Refused("it calls something that is no function of numpy")
        match function.name, arguments:
            case "array", (_Symbol("ndarray"), _, _):
                return Unfinished(None)
            case "dtype", (str(spec), *_) if spec.startswith("V") and inside_record(self.stack):
                return UnfinishedImage("dtype")
            case "frombuffer" | "scalar", (_, Opaque(), *_) | (Opaque(), *_):
                return Opaque("record")
            case "dtype", (str(spec), *_):
                return Unfinished(dtype_of(spec))
            case "scalar", (np.dtype() as dtype, data):
                return array_of((), dtype, data)[()]
            case "frombuffer", (data, np.dtype() as dtype, tuple(shape), str(order), *axes):
                if order == "K" and axes and axes[0] is not None:
                    return array_of(shape, dtype, data).transpose(axes[0])
                return array_of(shape, dtype, data, "F" if order == "F" else "C")
            case "encode", (str() | Latin1() as text, "latin1" | "latin-1"):
                self.encodable -= len(text)
                if self.encodable < 0:
                    raise Refused("it repeats the same data over and over")
                return text.data if isinstance(text, Latin1) else bytearray(text.encode("latin1"))
            case ("bytes", ()) | ("dict", ()):
                return {} if function.name == "dict" else b""
        raise Refused(f"it calls {function.name} with unusual arguments")

    def build(self, target: Any, state: Any) -> None:
        finished: Any
        match target, state:
            case UnfinishedImage(), _:
                finished = target.finished(state)
            case Unfinished(dtype=None), (1, tuple(), Opaque(), _, _):
                finished = Opaque("record")
            case Unfinished(dtype=None), (1, tuple(shape), np.dtype() as dtype, fortran, data):
                finished = array_of(shape, dtype, data, "F" if fortran else "C")
            case Unfinished(dtype=np.dtype() as dtype), (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
                finished = dtype if order == "|" else dtype.newbyteorder(order)
            case Unfinished(), _:
                raise Refused("it holds an array of Python objects or records, or one of an unknown layout")
            case _:
                raise Refused(f"it changes the insides of a {type(target).__name__}")
        for index in target.memoized:
            self.memo[index] = finished
        self.stack.append(finished)


_OBJECT = _Symbol("object")  # in the place of the dtype of an array of one Python object


class SavedReader(Reader):
    """The same behind the header of a .npy file, where numpy wraps one dictionary in an array without axes."""

    def reduced(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, _Symbol) and function.name == "dtype" and arguments[:1] in (("O8",), ("O",)):
            return _OBJECT
        return super().reduced(function, arguments)

    def build(self, target: Any, state: Any) -> None:
        match target, state:
            case _Symbol(name="object"), tuple():
                self.stack.append(target)
            case Unfinished(dtype=None), (1, (), _Symbol(name="object"), _, [dict() as found]):
                self.stack.append(found)
            case _:
                super().build(target, state)


def _unknown(opcode: bytes, where: int) -> str:
    if opcode in b"PQ":
        return "it refers to objects outside the file"
    if opcode in b"io\x81\x92\x82\x83\x84":
        return "it makes an object of a class of its own"
    return f"byte {where} ({opcode!r}) is no instruction of a pickle of plain data"
