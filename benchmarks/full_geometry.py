"""The challenge's real geometry in small memory: every step that touches responses, measured in its own process.

Ten subjects with the real number of voxels (161,326 of the whole brain, 29,622 of the mini track), 1000 x 3 and
102 x 10 trials, pickles of protocol 2: simulated, validated, converted, and one row of the full track fitted on two
made-up feature spaces, scored and selected, by the stage scripts themselves. Then one pickle of 3.4 GB.

Writes results/full_geometry.md. Takes 10 GB of disk in a temporary folder (TMPDIR), which is removed in the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml

import _harness
from cinevox import simulation
from cinevox.files import io
from cinevox.measured import insilico_truth
from cinevox.project import params
from cinevox.project.paths import Paths
from cinevox.scoring import outcomes
from cinevox.simulation import voxels

ROOT, RESULT = Path(__file__).parents[1], Path(__file__).parent / "results/full_geometry.md"
N_TRAIN, N_TEST, N_LATENTS, N_COMPONENTS = 1000, 102, 12, 100
NETWORK, SPACES = "alexnet", ("signal", "noise")
ROW = f"full-{NETWORK}-layer-ridge"
LIMIT = 8e9  # bytes
LARGE = (N_TRAIN, 3, 141_667)  # float64: 3.4 GB, as OpenNeuro ds005165 has them
PERIOD = 0.1  # seconds between two looks at the memory


@dataclass(frozen=True)
class Step:
    """The resources that one process took.

    peak: bytes resident in it and its children together, pages they share counted for each
    own: without the pages of mapped files, which the system takes back when it needs them
    written: bytes
    """

    name: str
    seconds: float
    peak: int
    own: int
    written: int


def document(n_subjects: int, fraction: float) -> dict:
    """This repository's parameters with the real sizes and one row."""
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    subjects = [f"sub{number:02d}" for number in range(1, n_subjects + 1)]
    found["dataset"] |= {"subjects": subjects}
    found["simulation"] |= {
        "n_subjects": n_subjects, "n_train": N_TRAIN, "n_test": N_TEST, "voxel_fraction": fraction,
        "n_latents": N_LATENTS, "generators": dict.fromkeys(params.MINI_ROIS, "signal"),
    }  # fmt: skip
    row = dict(zip(("track", "network", "features", "regressor"), ROW.split("-"))) | {"reported": None}
    found["experiments"] = {"voxelwise": {ROW: row}, "roiwise": {}, "joint": {}, "ensembles": {}}
    found["submission"]["rows"] = {}
    found["report"] |= {"brain_row": ROW, "subject": subjects[0]}
    return found


def prepare(folder: Path, n_subjects: int, fraction: float) -> None:
    """Parameters, a clip under 1102 names, and components of two feature spaces."""
    paths = Paths(folder)
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    paths.params.write_text(yaml.safe_dump(document(n_subjects, fraction), sort_keys=False))
    settings = params.load(paths.params)
    clips = folder / settings.dataset.folder / settings.dataset.clips
    first = clips / simulation.make_clip(clips, 0, 0).name
    for number in range(2, N_TRAIN + N_TEST + 1):
        os.link(first, clips / f"{number:04d}{first.name[4:]}")
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, N_TRAIN + N_TEST, N_COMPONENTS)).astype(np.float32)
    noise[0, :, :N_LATENTS] = driving()
    for space, values in zip(SPACES, noise):
        io.write_array(paths.reduction(NETWORK) / f"{space}.npy", values)
    described = {space: {"n_components": N_COMPONENTS} for space in SPACES}
    sidecar = {"layers": described, "features": {"weights": {"policy": "random"}}}
    io.write_json(paths.reduction(NETWORK) / "reduction.json", sidecar)


def driving() -> np.ndarray:
    """Return the latents that the voxels listen to: uncorrelated, mean 0, variance 1, (n_clips, n_latents)."""
    values = np.random.default_rng(1).standard_normal((N_TRAIN + N_TEST, N_LATENTS))
    return np.linalg.qr(values - values.mean(axis=0))[0] * np.sqrt(len(values))


def simulate(folder: Path) -> None:
    settings = params.load(Paths(folder).params)
    for subject in range(settings.simulation.n_subjects):
        target = folder / settings.dataset.folder
        simulation.write_subject(target, settings.simulation, subject, {"signal": driving()})
    simulation.write_truth(
        folder / settings.dataset.folder, settings.simulation, [], {"signal": driving()}, simulation.Heard()
    )


def write_large(path: Path) -> None:
    """A pickle of protocol 4 as Python writes it, piece by piece."""
    shape = b"".join(struct.pack("<ci", b"J", size) for size in LARGE)
    rng, n_bytes = np.random.default_rng(0), 8 * int(np.prod(LARGE))
    with path.open("wb") as stream:
        stream.write(b"\x80\x04}\x8c\x05traincnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR")
        stream.write(b"(K\x01(" + shape + b"tcnumpy\ndtype\n(\x8c\x02f8K\x00K\x01tR(K\x03\x8c\x01<NNNJ\xff\xff\xff\xff")
        stream.write(b"J\xff\xff\xff\xffK\x00tb\x89\x8e" + struct.pack("<Q", n_bytes))
        for _ in range(LARGE[0]):
            stream.write(rng.standard_normal(LARGE[1:]).data)
        stream.write(b"tbs.")


def convert_large(path: Path) -> None:
    from cinevox.measured import conversion

    conversion.write_responses(path.parent, io.read_pickle(path, mapped=True)["train"], conversion.BLOCK)


def measure(name: str, command: list[str], folder: Path) -> Step:
    """Run a process, looking at it and its children while it runs."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "GX_ANALYTICS_ENABLED": "false"}
    before, started, log = on_disk(folder), time.perf_counter(), folder / "log.txt"
    with log.open("w") as errors:
        running = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stderr=errors)
    process, peak, own = psutil.Process(running.pid), 0, 0
    while running.poll() is None:
        resident, shared = 0, 0
        for each in (process, *children(process)):
            try:
                memory = each.memory_info()
                resident, shared = resident + memory.rss, shared + memory.shared
            except psutil.Error:
                continue
        peak, own = max(peak, resident), max(own, resident - shared)
        time.sleep(PERIOD)
    seconds = time.perf_counter() - started
    if running.returncode:
        raise SystemExit(f"{name} ended with {running.returncode}:\n{log.read_text()}")
    found = Step(name, seconds, peak, own, on_disk(folder) - before)
    print(f"{line(found)} load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def on_disk(folder: Path) -> int:
    files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(files.values())


def outcome(folder: Path) -> str:
    """Whether the truth came out: the chosen space, the score, the ceilings."""
    paths = Paths(folder)
    settings = params.load(paths.params)
    row = outcomes.read(paths.selection(ROW), settings.experiments.rows[ROW])
    found = io.read_arrays(paths.ceiling("full") / "reliability.npz")["test"]
    truths = [insilico_truth.read_truth(settings.dataset.folder, s, "WB") for s in settings.dataset.subjects]
    true = np.concatenate([each.reliability_test for each in truths])
    return (
        f"The space that the responses come from is chosen (share {row.chosen['WB']['signal']:.2f}); test\n"
        f"score {row.scores['test'].score:.3f}. Reliability on the test clips, mean over {len(found):,} voxels: found\n"
        f"{found.mean():.3f}, true {true.mean():.3f} (r = {np.corrcoef(found, true)[0, 1]:.3f} over voxels)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the voxels")
    parser.add_argument("--step", choices=("simulate", "convert_large"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        {"simulate": simulate, "convert_large": convert_large}[chosen.step](chosen.path)
        return
    stages = [
        ("validation",), ("conversion", "train"), ("conversion", "test"), ("ceiling", "mini"), ("ceiling", "full"),
        ("fits", ROW), ("scores", ROW), ("selection", ROW),
    ]  # fmt: skip
    this = str(Path(__file__).absolute())
    with tempfile.TemporaryDirectory(prefix="full-geometry-") as name:
        folder = Path(name)
        prepare(folder, chosen.subjects, chosen.fraction)
        steps = [measure("simulation (responses)", [this, "--step", "simulate", "--path", "."], folder)]
        steps += [measure(" ".join(stage), [f"stages/{stage[0]}.py", *stage[1:]], folder) for stage in stages]
        os.chdir(folder)
        said = outcome(folder)
        disk = on_disk(folder)
    with tempfile.TemporaryDirectory(prefix="full-geometry-") as name:
        path = Path(name) / "WB.pkl"
        write_large(path)
        command = [this, "--step", "convert_large", "--path", str(path)]
        large = measure(f"a pickle of {path.stat().st_size / 1e9:.1f} GB, float64", command, path.parent)
    whole = chosen.subjects == 10 and chosen.fraction == 1
    text = report(steps, large, said, disk, chosen.subjects)
    if whole:
        RESULT.write_text(text)
    print(text)
    over = [step.name for step in (*steps, large) if step.peak > LIMIT]
    if over:
        raise SystemExit(f"over {LIMIT / 1e9:.0f} GB: {', '.join(over)}")


def report(steps: list[Step], large: Step, said: str, disk: int, n_subjects: int) -> str:
    machine = _harness._machine()
    counts = {roi: sum(n[:n_subjects]) for roi, n in voxels.COUNTS.items()}
    mini = sum(counts[roi] for roi in params.MINI_ROIS)
    header = "| | seconds | peak memory, GB | without mapped files, GB | written, GB |\n|-|-|-|-|-|"
    highest, own = (max(getattr(step, name) for step in steps) / 1e9 for name in ("peak", "own"))
    return f"""# The real geometry in small memory

Written by `python benchmarks/full_geometry.py` ({machine["date"]}, {machine["cpu"]}, {machine["cores"]} cores,
{machine["memory_gb"]} GB; load of the machine in the end {machine["load"][2]:.1f}).
{n_subjects} subjects, {counts["WB"]:,} voxels of the whole brain and {mini:,} of the mini track, 1000 x 3 training and
102 x 10 test trials in pickles of protocol 2; one row of the full track, ridge on 100 components of each of two feature
spaces. Each step is a process of its own, two workers in it.

{header}
{chr(10).join(line(step) for step in steps)}
| **in all** | {sum(step.seconds for step in steps):.0f} | **{highest:.2f}** | {own:.2f} | {disk / 1e9:.1f} |

Peak memory is what is resident in a process and its workers together, pages that they share counted for each, looked at
every {PERIOD:g} s. The limit is {LIMIT / 1e9:.0f} GB. Pages of mapped files are in it, although the system takes them
back when it needs them.

{said}

## One large file

As OpenNeuro ds005165 has them, converted in one process:

{header}
{line(large)}
"""


def line(step: Step) -> str:
    gigabytes = " | ".join(f"{value / 1e9:.2f}" for value in (step.peak, step.own, step.written))
    return f"| {step.name} | {step.seconds:.0f} | {gigabytes} |"


if __name__ == "__main__":
    main()
