"""Compare this run's metrics with the committed baseline.

A verdict never stops a run: `cinevox gate` has the exit codes.
"""

from _cli import Run, stage
from cinevox.files import io
from cinevox.outlets.gate import GateError, judge, tables


def main(run: Run) -> None:
    folder = run.paths.gate
    try:
        verdict = judge(run.paths, run.params)
        document, text, said = verdict.to_json(), tables.to_markdown(verdict), tables.sentence(verdict)
    except GateError as error:
        said = f"Not compared: {error}."
        document, text = {"against": None, "failed": None, "lines": []}, f"**{said}**\n"
    io.write_json(folder / "verdict.json", document)
    io.write_bytes(folder / "verdict.md", text.encode())
    run.log.info("%s Every metric: %s", said, folder / "verdict.md")


if __name__ == "__main__":
    stage(main, "dataset", "experiments", "scores", "transfer", "regressors", "gate")
