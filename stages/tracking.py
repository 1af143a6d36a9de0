"""Bring the MLflow store up to date with this run's scores; the store is a view, the files are the results."""

from _cli import Run, stage
from cinevox.outlets import tracking


def main(run: Run) -> None:
    missing = tracking.left_out(run.paths, run.params)
    rows = [name for name in run.params.experiments.rows if name not in missing]
    records = tracking.gather(run.paths, run.params, rows)
    for name, why in missing.items():
        run.log.warning("%s: left out: %s", name, why)
    try:
        with run.ticks(sum(record.n_runs for record in records), "runs") as tick:
            counts = tracking.sync(records, run.params.tracking.uri, tick)
        run.log.info("%s", counts)
    except Exception as error:  # the record is a view of the results: nothing that happens to it stops a run
        told = error if isinstance(error, tracking.StoreError) else f"{type(error).__name__}: {error}"
        run.log.warning("not synced: %s; `make sync` brings the record up to date later", told)


if __name__ == "__main__":
    stage(
        main, "dataset", "splits", "networks", "features", "reduction", "ceiling", "regressors", "bases",
        "heads", "transfer", "scores", "selection", "experiments", "tracking",
    )  # fmt: skip
