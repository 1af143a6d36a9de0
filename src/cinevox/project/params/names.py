"""The one pattern of names, and folders that stay inside of the repository: both become parts of paths."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("a name becomes a part of paths; expected letters, digits, _ and -, a letter or digit first")
    return value


def outside(path: Path | str) -> str | None:
    """Why a path may lead out of the folder that it is taken from; None if it can't."""
    text = str(path)
    if Path(text).is_absolute() or PureWindowsPath(text).anchor or "\\" in text:
        return "expected a path that begins here, with / between its parts"
    if ".." in Path(text).parts:
        return "expected a path without .."
    return None if text.isprintable() else "expected a path without control characters"


def _inside(value: str) -> str:
    if why := outside(value):
        raise ValueError(why)
    return value


Name = Annotated[str, AfterValidator(_name)]
Inside = Annotated[str, AfterValidator(_inside)]
