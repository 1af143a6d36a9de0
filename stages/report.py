"""The report of a run: one page, and the tables for `dvc plots`."""

from _cli import Run, stage
from cinevox.files import io
from cinevox.outlets import report


def main(run: Run) -> None:
    sources = report.read(run.paths, run.params)
    folder = run.paths.report
    page, drawings = report.render(sources)
    io.write_bytes(folder / "index.html", page.encode())
    for name, drawing in drawings.items():
        io.write_bytes(folder / "figures" / f"{name}.svg", drawing.encode())
    for file, content in report.map_files(sources):
        io.write_bytes(folder / file, content)
    for name, table in report.plots(sources.results).items():
        io.write_bytes(folder / "plots" / f"{name}.csv", table.to_csv(index=False).encode())
    io.write_json(folder / "results.json", report.drawn(sources))
    run.log.info("%s: open %s", run.log.name, folder / "index.html")


if __name__ == "__main__":
    stage(
        main, "dataset", "simulation", "splits", "frames", "networks", "features", "reduction", "spaces", "ceiling",
        "regressors", "fits", "bases", "heads", "transfer", "experiments", "scores", "selection", "report",
    )  # fmt: skip
