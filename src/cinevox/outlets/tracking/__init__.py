"""MLflow as a view of the score files: derived, repeatable, and never the place where a result lives.

`records` turns files into records (`measures` their metrics, `words` their texts, `data` their data set), `store`
brings the store up to date with them (`writing` a run each), `lookup` finds runs, `history` knows which commits and
experiments hold a result, `connection` where the store is, `views` how it is shown. `models` registers
encoding models, `serving` serves one, and `served` is what MLflow runs of it. mlflow is imported nowhere else.
"""

from cinevox.outlets.tracking.connection import StoreError
from cinevox.outlets.tracking.lookup import StoredRun, find
from cinevox.outlets.tracking.records import Record, gather, left_out
from cinevox.outlets.tracking.store import Counts, sync
from cinevox.outlets.tracking.views import address, ui

__all__ = [
    "Counts",
    "Record",
    "StoreError",
    "StoredRun",
    "address",
    "find",
    "gather",
    "left_out",
    "sync",
    "ui",
]  # fmt: skip
