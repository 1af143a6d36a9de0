"""The requests of params.spaces to one instance of a stage and no other, and the digests of files beside them.

DVC can't tell either from params.yaml: it takes a whole section, and knows nothing of files that it does not track.

The stage source_code writes both beside the hashes of the modules that the instance can load, which DVC looks at.
"""

from __future__ import annotations

from typing import Any

from cinevox.files import io
from cinevox.project.paths import Paths

KEY = "asked"


def read(paths: Paths, stage: str, instance: str) -> dict[str, Any]:
    """Read what is asked of an instance; empty where nothing is."""
    found: dict[str, Any] = io.read_json(paths.source_code(stage, instance)).get(KEY, {})
    return found
