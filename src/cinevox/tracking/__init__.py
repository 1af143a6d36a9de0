"""MLflow as a view of the score files: derived, repeatable, and never the place where a result lives.

`records` turns files into records, `store` brings the store up to date with them (the only importer of mlflow).
"""

from cinevox.tracking.records import Record, records, repository
from cinevox.tracking.store import Counts, StoreError, address, sync, ui

__all__ = ["Counts", "Record", "StoreError", "address", "records", "repository", "sync", "ui"]
