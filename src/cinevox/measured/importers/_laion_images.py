"""LAION-fMRI's images, which one file packs."""

from __future__ import annotations

import io as memory
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cinevox.errors import FileError
from cinevox.measured.importers._files import Files, hdf5, table

IMAGES, METADATA = "task-images_stimuli.h5", "task-images_metadata.csv"
GREY = (128, 128, 128)  # behind what is transparent, on the screen in the scanner


def images_of(files: Files, ids: Sequence[str]) -> Callable[[str], bytes] | None:
    """A function that gives a stimulus's content, where the study's packed images are there and have all of them."""
    packed, metadata = files.only(IMAGES), files.only(METADATA)
    if packed is None or metadata is None:
        return None
    names = table(metadata, ",", ("image_name",))["image_name"]
    rows = {name: row for row, name in enumerate(names)}
    with hdf5(packed) as opened:
        there = len(opened["images"]) if "images" in opened else 0
    if there != len(names) or not set(ids) <= set(rows):
        lacking = [name for name in ids if name not in rows]
        raise FileError(
            f"{packed}: {there:,} images, expected one for each of {len(names):,} lines of {metadata.name}, and these "
            f"to have every label of the trials ({len(lacking)} are not there: {', '.join(lacking[:3]) or '-'}); "
            "fetch both again, of the same version, or move them away"
        )
    return partial(_content, packed, rows)


def _content(packed: Path, rows: Mapping[str, int], stimulus: str) -> bytes:
    """A stimulus as it was shown: what is transparent, on grey."""
    with hdf5(packed) as opened:
        content = np.asarray(opened["images"][rows[stimulus]], dtype=np.uint8).tobytes()
    shown = Image.open(memory.BytesIO(content))
    if "A" not in shown.getbands() and "transparency" not in shown.info:
        return content
    layer = shown.convert("RGBA")
    behind = Image.new("RGBA", layer.size, (*GREY, 255))
    made = memory.BytesIO()
    Image.alpha_composite(behind, layer).convert("RGB").save(made, "png")
    return made.getvalue()
