"""Helpers of every stage script: its arguments, its parameters, logging, progress and workers.

A script names the sections of params.yaml that it reads, the same ones that dvc.yaml lists; asking for
another one is an error, so a result can't depend on a parameter that DVC doesn't see.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

# Of a copy of the repository its own package runs, not the installed one of another checkout: `dvc exp run --queue`
# and `--temp` run in such a copy. Worker processes inherit the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from cinevox import parallel
from cinevox.errors import InputError
from cinevox.files import disk, io
from cinevox.project import asked, package_versions
from cinevox.project import params as params_module
from cinevox.project.paths import Paths

# Read by torch when it is imported. A network's activations are large and short-lived: in large pages a forward
# pass on a CPU is up to 1.7 times faster (benchmarks/results/features.md). Linux only, harmless elsewhere.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@dataclass(frozen=True)
class Run:
    """One run of one stage. Of `params` only the sections that the script declared can be read."""

    name: str
    instance: str
    params: params_module.Params
    paths: Paths
    log: logging.Logger

    def progress(self, items: Iterable, total: int, label: str) -> Iterator:
        """Pass the items through, showing how many are done, the rate and the time left."""
        interval = 0.2 if sys.stderr.isatty() else 10.0
        yield from tqdm(items, total=total, desc=label, mininterval=interval, leave=False, file=sys.stderr)

    @contextlib.contextmanager
    def ticks(self, total: int, label: str) -> Iterator[Callable[..., object]]:
        """A function to call, from any thread, each time one (or n) of `total` things is done; shown as `progress`."""
        interval = 0.2 if sys.stderr.isatty() else 10.0
        with tqdm(total=total, desc=label, mininterval=interval, leave=False, file=sys.stderr) as bar:
            yield bar.update

    def n_clips(self) -> tuple[int, int]:
        """Return how many clips train, and how many test, as `validation` found them."""
        clips = io.read_json(self.paths.validation / "clips.json")
        return clips["n_train_clips"], clips["n_clips"] - clips["n_train_clips"]

    def clip_seconds(self) -> tuple[float, float]:
        """Length of the shortest and of the longest training clip, as `validation` found them; 0 of a still image."""
        shortest, longest = io.read_json(self.paths.validation / "clips.json")["seconds"]
        return shortest, longest

    def asked(self) -> dict[str, Any]:
        """Return what params.spaces asks of this instance, as the stage source_code found it."""
        return asked.read(self.paths, self.name, self.instance)

    def made(self, target: Path, *sources: Path) -> None:
        """Record beside a result the versions of packages that made it, and those that made what it was made from."""
        package_versions.record(target, self.log.name, sources)

    def clips(self, count: int) -> list[str]:
        """Names of all clips, as `frames` wrote them."""
        return [clip["name"] for clip in io.read_json(self.paths.frames(count) / "clips.json")]

    def frames(self, count: int) -> tuple[list[str], NDArray[np.uint8]]:
        """Names of all clips and `count` frames of each, (n_clips, count, height, width, 3), as `frames` wrote them."""
        clips, file = self.clips(count), self.paths.frames(count) / "frames.npy"
        if not file.is_file():
            raise InputError(
                f"{file}: no such file: not all of the {len(clips):,} stimuli are on this disk, and this network needs "
                "them; fetch their files, or bring its features as arrays (docs/spaces.md)"
            )
        return clips, io.read_array(file, (len(clips), count, None, None, 3), "n_clips, n_frames, height, width, 3")


class _Declared:
    def __init__(self, params: params_module.Params, sections: Iterable[str], stage: str) -> None:
        self._params, self._sections, self._stage = params, frozenset(sections), stage

    def __getattr__(self, section: str) -> Any:
        if section not in self._sections:
            raise AttributeError(f"stages/{self._stage}.py reads params.{section} without declaring it")
        return getattr(self._params, section)


def stage(
    main: Callable[[Any], None],
    *sections: str,
    instances: Callable[[params_module.Params], Iterable] | None = None,
    run: type[Run] = Run,
) -> None:
    """Run `main` as the stage its file is named after. User mistakes and a full disk end in one message each.

    instances: the instances that the parameters ask for, where the stage has several; run: what `main` is given
    """
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(prog=f"stages/{name}.py", description=sys.modules["__main__"].__doc__)
    parser.add_argument("instance", nargs="?", default="", help="network, row, ... where the stage has several")
    instance = parser.parse_args().instance
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    log = logging.getLogger(f"{name}@{instance}" if instance else name)
    started = time.perf_counter()
    paths = Paths()
    try:
        params = params_module.load(paths.params)
        known = [str(known) for known in instances(params)] if instances else [""]
        if instance not in known:
            raise InputError(f"no instance {instance!r}; expected one of {', '.join(known) or 'none'}")
        with parallel.context(params.parallel):
            main(run(name, instance, cast(params_module.Params, _Declared(params, sections, name)), paths, log))
    except InputError as error:
        log.error("%s: %s", log.name, error)
        sys.exit(1)
    except Exception as error:
        if (found := disk.cause(error)) is None:
            raise
        where = Path(found.filename).parent if isinstance(found.filename, str) else paths.data
        log.error("%s: %s", log.name, disk.full(where))
        sys.exit(1)
    log.info("%s: done in %.1f s", log.name, time.perf_counter() - started)
