"""Generators of simulated voxels in words: a property of the clips, a layer, a pooled map, or several together.

    generator = part | part + part | ...
    part      = <property> | <layer> | <layer>:max<k> | <layer>:avg<k>

A colon stands before the pool, as the names of modules have dots, and none has a colon.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

AND, OVER = " + ", ":"
PART = re.compile(rf"[^\s{OVER}+]+({OVER}(max|avg)[1-9][0-9]?)?")


def parts(word: str) -> tuple[str, ...]:
    """The parts of a generator, which drive its voxels in equal shares."""
    return tuple(word.split(AND))


def is_pooled(part: str) -> bool:
    """Whether voxels listen to receptive fields of a map."""
    return OVER in part


def layer_and_pool(part: str) -> tuple[str, str]:
    """The layer of a part and the pool of its map; of a property of the clips its name and `none`."""
    layer, _, pool = part.partition(OVER)
    return layer, pool or "none"


def _checked(word: str) -> str:
    found = parts(word)
    if not all(map(PART.fullmatch, found)) or len(set(found)) < len(found):
        raise ValueError(
            "expected a property of the clips, a layer, a pooled map as <layer>:max<k> or <layer>:avg<k>, or different "
            f"ones of these with {AND!r} between them"
        )
    return word


Generator = Annotated[str, AfterValidator(_checked)]
