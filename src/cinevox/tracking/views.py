"""Views: how MLflow's runs table and its charts open; kept with an experiment, reached by its address.

The words are those of MLflow 3.17's own interface, which calls such a thing a shared view. Tests hold them to the
installed version, and to what a browser shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

TAG = "mlflow.sharedViewState."  # + name: the experiment tag that holds a view
SUPERSEDED = "superseded"
VIEWS = {  # name -> (level of the runs that are listed, params shown first)
    "default": ("row", ("network", "features", "regressor")),
    "spaces": ("space", ("network", "space", "regressor")),
}
CURVES = ("epoch.loss", "epoch.train_correlation", "epoch.validation_correlation")  # of transfer networks
N_BARS = 40  # runs in a chart: the paper has 28 rows


def states(rois: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name -> state of each view.

    rois: whose scores are columns and charts, in this order
    """
    return {name: _state(level, params, rois) for name, (level, params) in VIEWS.items()}


def address(base: str, experiment: str, view: str = "default", charts: bool = False) -> str:
    """Where a view of an experiment (its id) opens: the runs table, or the charts beside the list of runs."""
    place = f"{base.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"
    return place + "&compareRunsMode=CHART" * charts


def _state(level: str, params: Sequence[str], rois: Sequence[str]) -> dict[str, Any]:
    scores = ["metrics.`score`", *(f"metrics.`{roi}.normalized_correlation`" for roi in rois)]
    first = [f"params.`{name}`" for name in params]
    return {
        "searchFilter": f"tags.level = '{level}' and tags.{SUPERSEDED} = 'false'",
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "selectedColumns": first + scores,
        "columnOrder": scores + first,
        "columnWidths": dict.fromkeys(first + scores, 150) | dict.fromkeys(scores[1:], 210),
        "runsHiddenMode": "SHOWALL",
        "compareRunSections": [_section("scores", "Normalized correlation"), _section("training", "Training")],
        "compareRunCharts": list(_charts(rois)),
        "isAccordionReordered": True,
    }


def _section(name: str, title: str) -> dict[str, Any]:
    same = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": f"cinevox-{name}", "name": title} | same


def _charts(rois: Sequence[str]) -> Iterator[dict[str, Any]]:
    for metric in ("score", *(f"{roi}.normalized_correlation" for roi in rois)):
        yield _chart("BAR", "scores", metric)
    for metric in CURVES:
        yield _chart("LINE", "training", metric) | {"selectedMetricKeys": [metric], "xAxisKey": "step"}


def _chart(kind: str, section: str, metric: str) -> dict[str, Any]:
    place = {"uuid": f"cinevox-{metric}", "type": kind, "metricSectionId": f"cinevox-{section}", "metricKey": metric}
    return place | {"runsCountToCompare": N_BARS, "deleted": False, "isGenerated": False}
