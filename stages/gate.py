"""Compare this run's metrics with the committed baseline. Never stops a run: `cinevox gate` has the exit codes."""

from _cli import Run, stage
from cinevox import gate, io


def main(run: Run) -> None:
    now = gate.read_current(run.paths, run.params.experiments.rows)
    folder = run.paths.gate
    try:
        was = gate.read_baseline(run.paths.baseline)
        verdict = gate.compare(was, now, run.params.gate, against=run.paths.baseline.as_posix())
        document, table = verdict.to_json(), verdict.to_markdown()
    except gate.GateError as error:
        document, table = {"against": None, "failed": None, "lines": []}, f"**Not compared**: {error}.\n"
    io.write_json(folder / "verdict.json", document)
    io.write_bytes(folder / "verdict.md", table.encode())
    run.log.info("%s", table)


if __name__ == "__main__":
    stage(main, "experiments", "gate")
