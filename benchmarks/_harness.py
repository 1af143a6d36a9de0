"""One way to time things: named cases, each beside what a user would pick instead, in one process and one run.

Repeats are interleaved (ours, rival, ours, rival, ...), so that a busy machine slows both sides of a ratio.
Everyone has one BLAS thread (as in the workers of a run) unless a contender's name says otherwise: two threads on
a busy machine wait for each other, which would measure the neighbours.
Results go to results/<name>.json and results/<name>.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba", "himalaya", "torch", "joblib")


@dataclass(frozen=True)
class Contender:
    """Something to time.

    share: of the case's work that `run` does; its time is divided by it, and the table says so
    repeats: at most, for what is slow
    """

    name: str
    run: Callable[[], Any]
    share: float = 1.0
    repeats: int = 1000


@dataclass(frozen=True)
class Measured:
    """A contender's measurements of itself, and its result; it runs in its own process (or prepares first).

    peak_mb: None to have it measured as for everybody
    """

    seconds: float
    peak_mb: float | None
    result: Any


@dataclass(frozen=True)
class Case:
    """agreement: says how far the results of a rival (by its place) and ours agree, from both return values.

    n_items, unit: what the work consists of, for a column of items per second
    absent: rivals that can't be run here, and why
    """

    title: str
    ours: Contender
    rivals: Sequence[Contender]
    agreement: Callable[[Any, Any], str] | None = None
    target: str = ""
    n_items: int = 0
    unit: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Timing:
    name: str
    share: float
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    result: Any = None

    def summary(self) -> dict[str, Any]:
        spread = {"median": statistics.median(self.seconds), "min": min(self.seconds), "max": max(self.seconds)}
        return {"name": self.name, "share": self.share, "n": len(self.seconds), "peak_mb": self.peak_mb, **spread}


def main(
    name: str,
    cases: Callable[[bool], Iterable[Case]],
    extra: Callable[[], dict[str, Any]] | None = None,
    note: str = "",
    below: Callable[[bool], str] | None = None,
) -> None:
    """Command line of a benchmark: --quick for small sizes, --only for cases whose title contains a word.

    below: makes what stands under the table, told whether sizes are small
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, two repeats, nothing written")
    parser.add_argument("--only", default="", help="cases whose title contains this; nothing written")
    arguments = parser.parse_args()
    started = _machine()
    repeats = 2 if arguments.quick else 5
    with threadpool_limits(1):
        measured = [measure(case, repeats) for case in cases(arguments.quick) if arguments.only in case.title]
    document = {
        "machine": started,
        "load_after": os.getloadavg(),
        "note": note,
        "extra": extra() if extra else {},
        "cases": measured,
    }
    table = markdown(name, document)
    if below and not arguments.only:
        table += "\n" + below(arguments.quick)
    print(table)
    if not (arguments.quick or arguments.only):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        (RESULTS / f"{name}.md").write_text(table)


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Time one case: a run of each for memory (and to warm up), then interleaved repeats."""
    contenders = [case.ours, *case.rivals]
    timings = [Timing(contender.name, contender.share) for contender in contenders]
    for contender, timing in zip(contenders, timings):
        timing.peak_mb, timing.result = _peak_memory(contender.run)
        if isinstance(timing.result, Measured):
            own = timing.result
            timing.peak_mb, timing.result = timing.peak_mb if own.peak_mb is None else own.peak_mb, own.result
    for repeat in range(repeats):
        for contender, timing in zip(contenders, timings):
            if repeat < contender.repeats:
                start = time.perf_counter()
                result = contender.run()
                seconds = result.seconds if isinstance(result, Measured) else time.perf_counter() - start
                timing.seconds.append(seconds / contender.share)
    print(f"{case.title}: {statistics.median(timings[0].seconds):.3g} s", file=sys.stderr, flush=True)
    ours, rivals = timings[0], timings[1:]
    rows = []
    for rival in rivals:
        ratios = [theirs / own for theirs, own in zip(rival.seconds, ours.seconds)]
        ratio = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
        agreement = case.agreement(ours.result, rival.result) if case.agreement else ""
        rows.append({**rival.summary(), "ratio": ratio, "agreement": agreement})
    counted = {"n_items": case.n_items, "unit": case.unit, "absent": dict(case.absent)}
    return {"title": case.title, "target": case.target, **counted, "ours": ours.summary(), "rivals": rows}


def markdown(name: str, document: dict[str, Any]) -> str:
    """The table, with the machine above it."""
    machine = document["machine"]
    lines = [
        f"# {name}",
        "",
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Python "
        f"{machine['python']}; " + ", ".join(f"{key} {value}" for key, value in machine["versions"].items()) + ".",
        f"Load of the machine before and after: {machine['load'][0]:.1f}, {document['load_after'][0]:.1f}.",
        "Seconds are medians (min-max) of interleaved repeats after a warm-up; times faster is the rival's time "
        "over ours, repeat by repeat; memory is the peak beyond the input in the calling process, unless said "
        "otherwise. Where a share stands, the rival did that share of the work and its time is scaled up linearly. "
        "One BLAS thread for each process, unless a name says otherwise. " + document["note"],
        "",
        *(f"- {key}: {value}" for key, value in document["extra"].items()),
        "",
        "| case | who | s | a second | times faster | memory, MB | agreement |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in document["cases"]:
        title = case["title"] + (f" (target {case['target']})" if case["target"] else "")
        ours = case["ours"]
        lines.append(
            f"| {title} | **{ours['name']}** | {_spread(ours)} | {_rate(case, ours)} | | {ours['peak_mb']:.0f} | |"
        )
        for rival in case["rivals"]:
            share = f" (share {rival['share']:.2g})" if rival["share"] < 1 else ""
            lines.append(
                f"| | {rival['name']}{share} | {_spread(rival)} | {_rate(case, rival)} | {_spread(rival['ratio'])} "
                f"| {rival['peak_mb']:.0f} | {rival['agreement']} |"
            )
        lines += [f"| | {name} | {reason} | | | | |" for name, reason in case["absent"].items()]
    return "\n".join(lines) + "\n"


def _rate(case: dict[str, Any], timing: dict[str, Any]) -> str:
    return f"{case['n_items'] / timing['median']:.3g} {case['unit']}" if case["n_items"] else ""


def _spread(values: dict[str, Any]) -> str:
    return f"{values['median']:.3g} ({values['min']:.3g}-{values['max']:.3g})"


def _peak_memory(run: Callable[[], Any]) -> tuple[float, Any]:
    """Highest resident memory while it runs, beyond what there was, in MB; and the result."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        result = run()
    finally:
        done.set()
        watcher.join()
    return (peak - before) / 1e6, result


def _machine() -> dict[str, Any]:
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "versions": {library: version(library) for library in LIBRARIES},
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
