"""The `cinevox` command: what is not a stage. Every subcommand answers on one screen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cinevox import io, params, plugins
from cinevox.errors import InputError
from cinevox.paths import Paths
from cinevox.splits import best_split


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code. A user's mistake ends in one message and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="cinevox", description="Encoding models of video fMRI: what there is, and what came out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, options) in COMMANDS.items():
        command = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0], description=run.__doc__)
        for flag, settings in options.items():
            command.add_argument(flag, **settings)
    chosen = parser.parse_args(arguments)
    try:
        return COMMANDS[chosen.command][0](chosen) or 0
    except InputError as error:
        print(f"cinevox {chosen.command}: {error}", file=sys.stderr)
        return 2


def _networks(_: argparse.Namespace) -> None:
    """the networks there are, with their layers"""
    used = params.load(Paths().params).networks
    table = _table("network", "title", "layers", "first", "last", "this run")
    for name in plugins.names("cinevox.networks"):
        spec = plugins.load("cinevox.networks", name)
        policy = f"{used[name].weights}, {used[name].n_frames} frames" if name in used else "–"
        table.add_row(name, spec.title, str(len(spec.layers)), spec.layers[0], spec.layers[-1], policy)
    _show(table)


def _regressors(_: argparse.Namespace) -> None:
    """the regressors there are, with this run's options"""
    used = params.load(Paths().params).regressors
    table = _table("regressor", "title", "voxels", "options in this run")
    for name in plugins.names("cinevox.regressors"):
        spec = plugins.load("cinevox.regressors", name)
        options = ", ".join(f"{key} {value}" for key, value in used[name].items()) if name in used else "–"
        table.add_row(
            name,
            spec.title,
            {"batch": "one by one", "roi": "an ROI together", "all": "all together"}[spec.voxels],
            options or "none",
        )
    _show(table)


def _rows(_: argparse.Namespace) -> None:
    """the rows of this run and of the paper"""
    paths = Paths()
    run, paper = (params.load(path).experiments.rows for path in (paths.params, paths.paper_params))
    table = _table("row", "reported", "in this run", "in the paper")
    for name in dict.fromkeys((*run, *paper)):
        reported = (run.get(name) or paper[name]).reported
        table.add_row(name, _number(reported), "yes" if name in run else "–", "yes" if name in paper else "–")
    _show(table)


def _weights(_: argparse.Namespace) -> None:
    """every network's weights: source, licence, where they are looked for, whether they are there"""
    from cinevox.networks._weights import status  # torch is imported only where networks are

    used = params.load(Paths().params).networks
    table = _table("network", "policy", "state", "size", "looked for", "source", "licence")
    for entry in status(used):
        place = (entry.file, entry.url or "–")
        table.add_row(entry.network, entry.policy, entry.state, entry.size or "–", *place, entry.licence or "–")
    _show(table)


def _scores(_: argparse.Namespace) -> None:
    """the score table of the last run, and where to look further"""
    paths = Paths()
    settings = params.load(paths.params)
    rois = settings.dataset.rois
    table = _table("row", "split", "score", "interval", *rois, "WB", "reported")
    missing = []
    for name, row in settings.experiments.rows.items():
        if not paths.metrics(name).is_file():
            missing.append(name)
            continue
        metrics = io.read_json(paths.metrics(name))
        split = best_split(metrics)
        part = metrics[split]
        interval = f"{_number(part['low'])} to {_number(part['high'])}"
        regions = [_number(part.get(roi)) for roi in (*rois, "WB")]
        table.add_row(name, split, _number(part["score"]), interval, *regions, _number(row.reported))
    _show(table)
    print("Normalized correlation (r / noise ceiling), mean over subjects; interval over clips.")
    random = [name for name, network in settings.networks.items() if network.weights == "random"]
    if random:
        print(f"Random weights, so no result: {', '.join(random)}.")
    if settings.dataset.name in settings.simulation.datasets:
        print("In-silico responses, so not comparable with reported scores.")
    if missing:
        print(f"Not run yet: {', '.join(missing)}.")
    print(
        f"\nLook further:  {paths.report / 'index.html'}  the report\n"
        f"               {paths.metrics('<row>')}  metrics, compare with `dvc metrics diff`\n"
        "               make ui  every network, layer and regressor in MLflow"
    )


def _validate(chosen: argparse.Namespace) -> int:
    """look at every file of a data set and print all that is wrong with it, at once

    Exit code 0: it can be used, whatever the warnings; 1: it cannot.
    """
    from cinevox import parallel, validation  # three seconds

    settings = params.load(Paths().params)
    wanted = settings.dataset.model_copy(update={"name": chosen.dataset or settings.dataset.name})
    if chosen.folder:
        wanted = wanted.model_copy(update={"folder": chosen.folder})
        found = plugins.load("cinevox.datasets", wanted.name).open(wanted)
        wanted = wanted.model_copy(update={"subjects": list(found.subjects) or wanted.subjects})
    with parallel.context(settings.parallel):
        summary = validation.check_folder(wanted, settings.validation, chosen.pages)
    print(summary.to_text())
    if chosen.pages:
        print(f"every check: {chosen.pages / 'index.html'}")
    return int(bool(summary.errors))


def _guard(chosen: argparse.Namespace) -> int:
    """refuse what would let data that may not be passed on go to a remote that is not private

    Exit code 0: nothing would; 1: something would, or could not be looked at.
    """
    from cinevox import guard

    paths = Paths()
    settings = params.load(paths.params)
    if chosen.fix:
        for path in guard.bind(paths, settings):
            print(f"{path}: bound to the remote {guard.PRIVATE}")
    if chosen.hook:
        print(f"{guard.install_hook(paths.root)}: calls the guard before every push")
    known = guard.remotes(paths.root)
    found = [*guard.faults(paths, settings), *guard.remote_faults(known)]
    for fault in found:
        print(f"refused: {fault}", file=sys.stderr)
    if not found:
        place = known.get(guard.PRIVATE, "none yet: make data-remote REMOTE=/a/folder, s3://..., ssh://...")
        print(f"no restricted data can leave but for the remote {guard.PRIVATE} ({place})")
    return int(bool(found))


def _warm(_: argparse.Namespace) -> None:
    """compile the numeric kernels ahead of the first run, once for an installation"""
    import tempfile

    import numpy as np

    from cinevox.simulation import make_clip
    from cinevox.splits import folds

    settings = params.load(Paths().params).regressors
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((24, n)).astype(np.float32) for n in (6, 20))
    for name in plugins.names("cinevox.regressors"):
        regressor = plugins.load("cinevox.regressors", name).build(settings[name])
        regressor.fit(X, Y, folds=folds(24, 3), bands=(slice(0, 3), slice(3, 6))).predict(X)
    with tempfile.TemporaryDirectory() as folder:
        make_clip(Path(folder), 0, 0)


def _sync(_: argparse.Namespace) -> None:
    """bring the MLflow record up to date with the score files"""
    from cinevox import tracking

    paths = Paths()
    settings = params.load(paths.params)
    rows = settings.experiments.rows
    there = {name: row for name, row in rows.items() if (paths.selection(name) / "selection.json").is_file()}
    print(
        tracking.bring_up_to_date(paths, settings.model_copy(update={"experiments": settings.experiments.only(there)}))
    )
    if len(there) < len(rows):
        print(f"Not run yet: {', '.join(name for name in rows if name not in there)}.")


def _ui(chosen: argparse.Namespace) -> int:
    """open the MLflow UI on 127.0.0.1"""
    from cinevox import tracking

    return tracking.ui(params.load(Paths().params).tracking, chosen.port, print)


def _smoke(chosen: argparse.Namespace) -> None:
    """make a folder in which all of the paper's rows can be run in small, on in-silico data

    `make paper-smoke` does so and runs them.
    """
    from cinevox import smoke

    smoke.make(chosen.folder)
    print(f"{chosen.folder}: {len(params.load(Paths(chosen.folder).params).experiments.rows)} rows")


def _gate(chosen: argparse.Namespace) -> int:
    """compare the scores with the committed baseline or a git revision

    Exit code 0: nothing fell; 1: a regression; 2: nothing to compare with.
    """
    from cinevox import gate

    paths = Paths()
    settings = params.load(paths.params)
    now = gate.read_current(paths, settings.experiments.rows)
    if chosen.update:
        gate.write_baseline(paths.baseline, now)
        print(f"{paths.baseline}: {len(now)} rows; commit it")
        return 0
    if chosen.against:
        was, limits = gate.read_revision(paths, chosen.against)
    else:
        was, limits = gate.read_baseline(paths.baseline), settings.gate
    verdict = gate.compare(was, now, limits, chosen.against or str(paths.baseline))
    print(verdict.to_markdown())
    if chosen.markdown:
        chosen.markdown.write_text(verdict.to_markdown())
    return verdict.exit_code


def _check_submission(chosen: argparse.Namespace) -> None:
    """look for all that is wrong with a submission's zip, this project's or somebody else's

    Nothing in it is run, nothing is unpacked to the disk. Exit code 0: it can be handed in; 2: it would be refused.
    """
    from cinevox.datasets import open_dataset
    from cinevox.submission import faults

    settings = params.load(Paths().params).dataset
    content, wanted = faults.read(chosen.file, open_dataset(settings), settings, chosen.track)
    print(f"{chosen.file}: no fault: {wanted.title}, {sum(map(len, content.values()))} arrays")


def _score(chosen: argparse.Namespace) -> None:
    """score a submission's zip offline, as the challenge does, where there are responses to the test clips"""
    from cinevox.datasets import open_dataset
    from cinevox.submission import faults, offline

    settings = params.load(Paths().params)
    dataset = open_dataset(settings.dataset)
    content, wanted = faults.read(chosen.file, dataset, settings.dataset, chosen.track)
    found = offline.score_offline(content, wanted, dataset, settings.ceiling, settings.scores)
    table = _table(*offline.HEADERS)
    for cells in found.cells():
        table.add_row(*(cell if isinstance(cell, str) else _number(cell) for cell in cells))
    _show(table)
    print(found.legend)
    if settings.dataset.name in settings.simulation.datasets:
        print("In-silico responses, so not comparable with reported scores.")


def _unpack(chosen: argparse.Namespace) -> None:
    """unpack the zip archives of a data set's folder, as downloaded, where they lie

    All or nothing: archives that would write outside of the folder, hold links, are encrypted, cut off or larger than
    --max-gigabytes are refused.
    """
    from cinevox import archives

    for found in archives.unpack(chosen.folder, int(chosen.max_gigabytes * 1e9)):
        made = ", ".join(map(str, found.made))
        print(f"{found.archive}: {found.n_files} files, {found.n_bytes:,} bytes, in {made}")
    print("The archives are not needed any more: remove them before `dvc add`, which would keep them too.")


SUBMITTED: dict[str, dict] = {
    "file": {"type": Path, "help": "mini_track.zip or full_track.zip"},
    "--track": {"choices": ("mini", "full"), "help": "where neither the file's name nor what is in it says so"},
}
COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int | None], dict[str, dict]]] = {
    "networks": (_networks, {}),
    "regressors": (_regressors, {}),
    "rows": (_rows, {}),
    "weights": (_weights, {}),
    "scores": (_scores, {}),
    "validate": (
        _validate,
        {
            "folder": {
                "type": Path,
                "nargs": "?",
                "help": "all subjects in it; by default what params.dataset asks for",
            },
            "--dataset": {"help": "a name in src/cinevox/datasets, by default params.dataset.name"},
            "--pages": {"type": Path, "help": "a folder for Great Expectations' pages"},
        },
    ),
    "warm": (_warm, {}),
    "sync": (_sync, {}),
    "guard": (
        _guard,
        {
            "--fix": {"action": "store_true", "help": "bind .dvc files to the private remote"},
            "--hook": {"action": "store_true", "help": "call the guard before every git push (and dvc push with it)"},
        },
    ),
    "ui": (_ui, {"--port": {"type": int, "default": 5000, "help": "on 127.0.0.1 (default 5000)"}}),
    "smoke": (_smoke, {"folder": {"type": Path, "help": "what lies there is replaced"}}),
    "unpack": (
        _unpack,
        {
            "folder": {"type": Path, "help": "data/algonauts2021, with the challenge's zips in it"},
            "--max-gigabytes": {"type": float, "default": 50.0, "help": "that an archive may unpack to (default 50)"},
        },
    ),
    "check-submission": (_check_submission, SUBMITTED),
    "score": (_score, SUBMITTED),
    "gate": (
        _gate,
        {
            "--against": {"metavar": "REVISION", "help": "a git revision instead of the committed baseline"},
            "--update": {"action": "store_true", "help": "make the present scores the baseline"},
            "--markdown": {"type": Path, "metavar": "FILE", "help": "write the table there too"},
        },
    ),
}


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    numeric = {"layers", "score", "reported", "size", *params.MINI_ROIS, params.WHOLE_BRAIN}
    numeric |= {"subjects", "pooled", "correlation", "n_voxels", "n_excluded", "n_constant"}
    for header in headers:
        table.add_column(header, justify="right" if header in numeric else "left", overflow="fold")
    return table


def _show(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
