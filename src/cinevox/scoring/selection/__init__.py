"""Selection: which feature space stands for which voxels, and what the row scores with that choice.

What was chosen on some clips is not believed on them: the score that counts is of the test clips, or of outer folds
whose choice was made without them, and how much the others flatter is said (`optimism`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cinevox.fitting.prediction_store import Index
from cinevox.scoring.origin import KEY
from cinevox.scoring.selection.choice import Choice, Seen, choose, frequencies, seen
from cinevox.scoring.selection.evidence import Evidence, Measured, Predicted, Stratum, gather, summary
from cinevox.scoring.selection.optimism import choice_effect, mean_rank_correlation, optimism, rank_correlation
from cinevox.statistics.metrics import NORMALIZED, PLAIN, PLAIN_KEY, Measure
from cinevox.statistics.splits import best_split, ceiling_split, inner_of, outer_names

__all__ = [
    "Candidates",
    "Choice",
    "Evidence",
    "Seen",
    "Selected",
    "choose",
    "frequencies",
    "headline",
    "metrics_of",
    "select",
]

Floats = NDArray[np.floating]
DIGITS = 5  # decimals in git: on another processor the scores of fits move by less than half a unit of the last one


@dataclass(frozen=True)
class Candidates:
    """What the stage scores wrote about a row's candidates.

    subjects: one line per space, split, subject and ROI
    voxels: `<split>.correlation`, and `.normalized` where there is a ceiling -> (n_spaces, n_voxels)
    replicates: split -> (n_spaces, n_resamples, n_blocks)
    """

    index: Index
    subjects: pd.DataFrame
    voxels: Mapping[str, Floats]
    replicates: Mapping[str, Floats]

    def seen(self, splits: Sequence[str], measure: str = "score") -> Seen:
        return seen(self.index.spaces, self.index.columns, splits, self.subjects, self.voxels, self.replicates, measure)

    def measure(self, split: str) -> Measure:
        return NORMALIZED if f"{split}.normalized" in self.voxels else PLAIN

    @property
    def outer(self) -> tuple[str, ...]:
        return outer_names(self.index.clips)


@dataclass(frozen=True)
class Selected:
    """One row's choice and what speaks for it.

    evidence: split (validation, test, nested) -> scores with the choice; nested: each outer fold with the choice that
        its inner folds make
    description: what is written for readers: how it was chosen, on which clips (`chosen_on`, None if nothing was), how
        steadily, how much the scores there flatter, and all scores
    """

    choice: Choice
    evidence: Mapping[str, Evidence]
    description: Mapping[str, Any]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Per voxel `space` (the number of its candidate), and for each split its scores and its chances.

        `<split>.normalized` is there if the split has a ceiling.
        """
        found: dict[str, NDArray[Any]] = {"space": self.choice.index}
        for split, part in self.evidence.items():
            scored = {"correlation": part.scores.correlation}
            if part.scores.normalized is not None:
                scored["normalized"] = part.scores.normalized
            tested = {"p": part.p, "p_familywise": part.p_familywise}
            replicates = {"replicates": part.scores.replicates}
            found |= {f"{split}.{name}": values for name, values in (scored | tested | replicates).items()}
        return found


def select(
    candidates: Candidates,
    policy: str,
    per: str,
    published: Mapping[str, str],
    measured: Measured,
    predicted: Predicted,
    ceilings: Mapping[str, NDArray[np.float64] | None],
    settings: Any,
) -> Selected:
    """Choose by the policy, and score the choice on every split there is.

    policy nested: the choice is made on the outer folds; a row without them (transfer networks) has one candidate
    measured, predicted: as for `evidence.gather`; ceilings: validation, test -> (n_voxels,), None without
    settings: has n_bootstraps, n_permutations, confidence, seed
    """
    index, outer = candidates.index, candidates.outer
    deciding = outer or ("validation",)
    choice = choose(candidates.seen(deciding), policy, per, published)
    judge = partial(
        gather, measured=measured, predicted=predicted, columns=index.columns,
        n_bootstraps=settings.n_bootstraps, n_permutations=settings.n_permutations, seed=settings.seed,
    )  # fmt: skip

    def on(names: Sequence[str], choices: Sequence[Choice], plain: bool = False) -> Evidence:
        strata = [Stratum(name, len(index.clips[name]), own) for name, own in zip(names, choices)]
        return judge(strata, ceiling=None if plain else ceilings[ceiling_split(names[0])])

    evidence = {name: on([name], [choice]) for name in ("validation", "test") if name in ceilings}
    chosen = len(index.spaces) > 1 and policy != "paper"
    chosen_on = "nested" if chosen and outer else "validation" if chosen else index.provenance.get("chosen_on")
    if outer:
        evidence["nested"] = on(outer, _inner_choices(candidates, policy, per))
    flat = on(outer, [choice] * len(outer)) if chosen and outer else evidence["validation"]

    def alike(name: str, found: Evidence) -> tuple[Evidence, Evidence]:
        if found.measure == flat.measure:
            return flat, found
        where = outer if chosen and outer else ("validation",)  # one has a noise ceiling, the other none
        return on(where, [choice] * len(where), plain=True), on([name], [choice], plain=True)

    rng = np.random.default_rng(settings.seed)
    scores = {
        name: summary(found, settings.confidence, rng)
        | {"chosen_here": chosen_on is not None and name == "validation"}  # which outer folds hold, too
        for name, found in evidence.items()
    }
    honest = {name: found for name, found in evidence.items() if chosen_on and name != "validation"}
    description = {
        "policy": policy,
        "per": per,
        "chosen_on": chosen_on,
        "chosen": choice.shares(index.columns),
        "frequencies": frequencies(candidates.seen(deciding)) if chosen else {},
        "optimism": {
            name: _optimism(candidates, *alike(name, found), deciding, name, settings.confidence)
            for name, found in honest.items()
        },
        "scores": scores,
    }
    return Selected(choice, evidence, description)


def _inner_choices(candidates: Candidates, policy: str, per: str) -> list[Choice]:
    clips = candidates.index.clips
    return [choose(candidates.seen(inner_of(name, clips)), policy, per, {}) for name in candidates.outer]


def _optimism(
    candidates: Candidates, flat: Evidence, honest: Evidence, deciding: Sequence[str], split: str, confidence: float
) -> dict[str, Any]:
    """flat, honest: in one measure. The part that comes from choosing needs the candidates in it, too."""
    found: dict[str, Any] = {"measure": honest.measure} | optimism(flat, honest, confidence)
    if split == "test" and len(candidates.index.spaces) > 1:
        both = (candidates.seen(deciding), candidates.seen(("test",)))
        if candidates.measure(deciding[0]) == candidates.measure("test"):
            found["choice"] = choice_effect(flat, honest, both, confidence)
        else:
            both = (candidates.seen(deciding, "correlation"), candidates.seen(("test",), "correlation"))
        found["rank_correlation"] = mean_rank_correlation(rank_correlation(both))
    return found


def metrics_of(selected: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metrics/<row>.json for that of selection.json: the stage writes it, the gate compares with it."""
    return {**headline(selected["scores"]), **({KEY: selected[KEY]} if KEY in selected else {})}


def headline(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The few numbers of a row that are compared between versions: metrics/<row>.json.

    The best evidence there is comes in full (test, else nested, else validation), the others as their score. Plain
    correlations stand one level deeper, under `PLAIN_KEY`, so that nothing compares them with normalized ones. Numbers
    are rounded to DIGITS decimals: what another processor changes lies behind them, but for transfer networks.
    """
    best = best_split(scores)
    full = scores[best]
    rois = {roi: entry["score"] for roi, entry in full["rois"].items()}
    whole = {key: full[key] for key in ("score", "low", "high", "pooled_score", "correlation")}
    named = {best: whole | rois} | {name: {"score": part["score"]} for name, part in scores.items() if name != best}
    parts = {name: {key: _rounded(value) for key, value in part.items()} for name, part in named.items()}
    return {name: {PLAIN_KEY: part} if scores[name]["measure"] == PLAIN else part for name, part in parts.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
