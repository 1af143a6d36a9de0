"""Principal components beside scikit-learn's solvers, on a layer of the paper's size that lies in a file.

Every contender runs in a process of its own: seconds are those of the decomposition alone, memory is the highest
that the process ever held, libraries and mapped pages of the file included.
"""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.linalg import subspace_angles
from threadpoolctl import threadpool_limits

from _harness import Case, Contender, Measured, main

N_CLIPS, N_COMPONENTS = 1000, 100


def write_layer(path: Path, n_features: int) -> None:
    """300 latents whose variance falls as a power, and noise; float32, (1000, n_features)."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((N_CLIPS, 300), dtype=np.float32) * np.arange(1, 301, dtype=np.float32) ** -0.7
    X = np.lib.format.open_memmap(path, "w+", np.float32, (N_CLIPS, n_features))
    for start in range(0, n_features, 10_000):
        width = min(10_000, n_features - start)
        block = latents @ rng.standard_normal((300, width), dtype=np.float32)
        X[:, start : start + width] = block + 0.5 * rng.standard_normal((N_CLIPS, width), dtype=np.float32)


def solve(solver: str, X: np.ndarray) -> np.ndarray:
    """Scores of the leading components, (n_clips, n_components)."""
    if solver == "cinevox":
        from cinevox.stimuli.reduction import principal_components

        return principal_components(X, np.arange(N_CLIPS), N_COMPONENTS, min_spread=None, normalize=False).scores
    from sklearn.decomposition import PCA, IncrementalPCA

    if solver == "incremental":
        return IncrementalPCA(N_COMPONENTS, batch_size=200).fit_transform(X)
    return PCA(N_COMPONENTS, svd_solver=solver, random_state=0).fit_transform(X)


def child(solver: str, layer: str, out: str) -> None:
    """One solver on one file; prints seconds and highest memory in MB."""
    X = np.load(layer, mmap_mode="r")
    with threadpool_limits(1):
        solve(solver, X[:, :2000])  # imports and first calls
        start = time.perf_counter()
        scores = solve(solver, X)
        seconds = time.perf_counter() - start
    np.save(out, scores)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def contender(solver: str, name: str, folder: Path, once: bool = True) -> Contender:
    """once: what takes minutes is run once, as its process warms up inside and repeats would add little."""

    def run() -> Measured:
        out = folder / f"{solver}.npy"
        arguments = [sys.executable, __file__, "--child", solver, str(folder / "layer.npy"), str(out)]
        answer = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
        seconds, peak_mb = map(float, answer.split())
        return Measured(seconds, peak_mb, np.load(out))

    return Contender(name, functools.cache(run) if once else run, repeats=1 if once else 3)


def agreement(mine: np.ndarray, theirs: np.ndarray) -> str:
    """Components that are the same, and the largest angle between the two spaces of scores."""
    r = np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(mine.T.astype(float), theirs.T.astype(float))])
    angle = np.rad2deg(subspace_angles(mine.astype(float), theirs.astype(float))[0])
    return f"abs(r) > .999 in {(r > 0.999).sum()}/{len(r)}, lowest {r.min():.3f}; largest angle {angle:.2g} degrees"


def cases(quick: bool, folder: Path) -> list[Case]:
    n_features = 20_000 if quick else 290_400
    write_layer(folder / "layer.npy", n_features)
    rivals = [
        contender("full", "scikit-learn PCA, full", folder),
        contender("randomized", "scikit-learn PCA, randomized (its default here)", folder),
        contender("incremental", "scikit-learn IncrementalPCA, batches of 200", folder),
    ]
    ours = contender("cinevox", "cinevox", folder, once=False)
    return [Case(f"{N_COMPONENTS} components of {N_CLIPS} x {n_features}", ours, rivals, agreement, "10, 2000 MB")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(
                "reduction",
                lambda quick: cases(quick, Path(temporary)),
                note="Here memory is the highest of a process of its own, libraries and mapped pages of the input "
                "included; scikit-learn's runs were timed once.",
            )
