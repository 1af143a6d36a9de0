"""Bring the MLflow store up to date with this run's scores; the store is a view, the files are the results."""

from _cli import Run, stage
from cinevox import io, results, tracking

SECTIONS = (
    "dataset", "splits", "networks", "features", "reduction", "ceiling", "regressors", "scores", "selection",
)  # fmt: skip


def main(run: Run) -> None:
    rows = results.read(run.paths, run.params.experiments.rows)
    settings = {name: section_dump(getattr(run.params, name)) for name in SECTIONS}
    records = tracking.records(run.paths, rows, settings, run.params.tracking.experiment)
    try:
        counts = tracking.sync(records, run.params.tracking.uri)
        run.log.info("%d runs created, %d rows there, %d superseded", counts.created, counts.present, counts.superseded)
        synced = True
    except tracking.StoreError as error:
        run.log.warning("not synced: %s", error)
        synced = False
    io.write_json(
        run.paths.tracking / "synced.json",
        {"synced": synced, "rows": {record.name: record.key for record in sorted(records, key=lambda r: r.name)}},
    )


def section_dump(section):
    if isinstance(section, dict):
        return {name: section_dump(value) for name, value in section.items()}
    return section.model_dump(mode="json") if hasattr(section, "model_dump") else section


if __name__ == "__main__":
    stage(main, *SECTIONS, "experiments", "tracking")
