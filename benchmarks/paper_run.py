"""The cost of the paper's run: time, disk and memory of every stage at full size, from measured pieces.

Writes docs/paper-run.md. Pieces are measured here (a few seconds each, at the paper's shapes but for few clips or few
voxels) or taken from the other benchmarks' results; totals are the formulas in the text. Nothing is typed in.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"

from threadpoolctl import threadpool_limits

import _harness
from _costs import GIB, GPU_TIMES, HOUR, WORKERS, costs, table
from _pieces import CORES, N_TRAIN, RESULTS, ROOT, VOXELS, layer_sizes, measure, peak_of_fit
from cinevox.project import params

PLAN = ROOT / "docs/paper-run.md"
TEMPLATE = ROOT / "benchmarks/paper_run.template.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer voxels, nothing written")
    quick = parser.parse_args().quick
    machine = _harness._machine()
    settings = params.load(ROOT / "params.paper.yaml")
    sizes = layer_sizes(settings)
    with threadpool_limits(1):
        pieces, log = measure(settings, sizes, quick)
    found = costs(settings, sizes, pieces)
    stages, totals = table(found)

    def hours(*names: str) -> float:
        return sum(cost.core_seconds for cost in found if cost.stage in names) / CORES / HOUR

    costliest = sorted(found, key=lambda cost: -cost.core_seconds)[:8]
    here = [name for name in pieces if name.startswith(("clip", "PCA", "epoch"))]
    transfer = json.loads((RESULTS / "transfer.json").read_text())["cases"]
    text = TEMPLATE.read_text().format(
        date=machine["date"], cpu=machine["cpu"], cores=machine["cores"], memory=machine["memory_gb"],
        load=machine["load"][0], n_rows=len(settings.experiments.rows), n_networks=len(settings.networks),
        hours=totals["core"] / CORES / HOUR, transfer=hours("transfer"), features=hours("features", "bases"),
        disk=totals["disk"] / 1e9, stages=stages, workers=WORKERS, gpu=GPU_TIMES,
        activations=sum(cost.disk for cost in found if cost.stage in ("features", "bases")) / 1e9,
        responses=sum(VOXELS.values()) * N_TRAIN * 3 * 4 / 1e9,
        mini_voxels=VOXELS["mini"], full_voxels=VOXELS["full"],
        memory_mini=peak_of_fit("mini") / GIB, memory_full=peak_of_fit("full") / GIB,
        memory_transfer=max(case["ours"]["peak_mb"] for case in transfer) / 1e3,
        costliest="\n".join(
            f"| {c.stage} | {c.instance} | {c.core_seconds / HOUR:.1f} | {c.disk / 1e9:.1f} |" for c in costliest
        ),
        pieces="\n".join(log), others=", ".join(f"{name} {pieces[name]:.3g}" for name in here),
    )  # fmt: skip
    print(text)
    if not quick:
        PLAN.write_text(text)


if __name__ == "__main__":
    main()
