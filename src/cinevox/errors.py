"""The errors a user can cure."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` on one line, with control characters and others that can't be seen as escapes: \\x1b, \\n, \\u202e.

    A name can hold any: those that a terminal obeys, that show the rest backwards, or that are no UTF-8.
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


class InputError(ValueError):
    """Something given to cinevox (a file, a parameter, a name) is unusable.

    The message names the thing, what was found, what was expected and the cure. Stages print it alone;
    any other exception is a defect of the program and keeps its traceback.
    """

    def __str__(self) -> str:
        return "\n".join(map(printable, super().__str__().split("\n")))


class FileError(InputError):
    """A file is missing, broken, hostile or of the wrong shape; the message names it and the cure."""
