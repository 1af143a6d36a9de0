"""MLflow as a view of the score files: derived, repeatable, and never the place where a result lives.

`records` turns files into records, `store` brings the store up to date with them, `models` registers encoding models,
and `served` is what MLflow runs of one. Nothing outside of this package imports mlflow.
"""

from typing import Any

from cinevox.paths import Paths
from cinevox.tracking.records import SECTIONS, Record, gather
from cinevox.tracking.store import Counts, StoreError, address, sync, ui

__all__ = ["SECTIONS", "Counts", "Record", "StoreError", "address", "bring_up_to_date", "gather", "sync", "ui"]


def bring_up_to_date(paths: Paths, params: Any) -> Counts:
    """Sync every row of the parameters; what was done, as a sentence when printed.

    Raises
    ------
    FileError
        A row has no result yet.
    StoreError
        The store can't be reached or refuses.
    """
    return sync(gather(paths, params), params.tracking.uri)
