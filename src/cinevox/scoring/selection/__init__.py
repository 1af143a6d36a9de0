"""Selection: which feature space stands for which voxels, and what the row scores with that choice.

What was chosen on some clips is not believed on them: the score that counts is of the test clips, or of outer folds
whose choice was made without them, and how much the others flatter is said (`optimism`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinevox.project.params import Scores, Selection
from cinevox.scoring.outcomes import Optimism, Outcome
from cinevox.scoring.selection.choice import GIVEN, Candidates, Choice, Seen, choose, frequencies
from cinevox.scoring.selection.evidence import Evidence, Measured, Predicted, Stratum, gather, summary
from cinevox.scoring.selection.optimism import choice_effect, mean_rank_correlation, optimism, rank_correlation
from cinevox.statistics.splits import ScoredSplit, ceiling_split, inner_of

__all__ = [
    "Candidates",
    "Choice",
    "Evidence",
    "Seen",
    "Selected",
    "choose",
    "frequencies",
    "select",
]

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Selected:
    """One row's choice and what speaks for it.

    evidence: split (validation, test, nested) -> scores with the choice; nested: each outer fold with the choice that
        its inner folds make
    without: outer fold -> that choice
    outcome: what is kept for readers
    """

    choice: Choice
    without: Mapping[str, Choice]
    evidence: Mapping[ScoredSplit, Evidence]
    outcome: Outcome

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Per voxel `space` (the number of its candidate), and for each split its scores and its chances.

        `<split>.normalized` is there if the split has a ceiling, `outer-<k>.space` if there are outer folds.
        """
        found: dict[str, NDArray[Any]] = {"space": self.choice.index}
        found |= {f"{fold}.space": choice.index for fold, choice in self.without.items()}
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
    settings: Selection,
    published: Mapping[str, str],
    measured: Measured,
    predicted: Predicted,
    ceilings: Mapping[str, NDArray[np.float64] | None],
    scoring: Scores,
) -> Selected:
    """Choose by the policy, and score the choice on every split there is.

    policy nested: the choice is made on the outer folds; a row without them (transfer networks) has one candidate
    measured, predicted: as for `evidence.gather`, of all splits but the inner folds
    ceilings: validation, test -> (n_voxels,), None without
    """
    index, outer, policy, per = candidates.index, candidates.outer, settings.policy, settings.per
    deciding = outer or ("validation",)
    choice = choose(candidates.seen(deciding), policy, per, published)

    def on(names: Sequence[str], choices: Sequence[Choice], plain: bool = False) -> Evidence:
        strata = [Stratum(name, own) for name, own in zip(names, choices)]
        ceiling = None if plain else ceilings[ceiling_split(names[0])]
        return gather(candidates, strata, measured, predicted, ceiling, scoring)

    splits: tuple[ScoredSplit, ...] = ("validation", "test")
    evidence: dict[ScoredSplit, Evidence] = {name: on([name], [choice]) for name in splits if name in ceilings}
    chosen = len(index.spaces) > 1 and policy not in GIVEN
    chosen_on = "nested" if chosen and outer else "validation" if chosen else index.chosen_on
    without = {name: _without(candidates, name, settings, published) for name in outer}
    if outer:
        evidence["nested"] = on(outer, [without[name] for name in outer])
    flat = on(outer, [choice] * len(outer)) if chosen and outer else evidence["validation"]

    def alike(name: ScoredSplit, found: Evidence) -> tuple[Evidence, Evidence]:
        if found.measure == flat.measure:
            return flat, found
        where = outer if chosen and outer else ("validation",)  # one has a noise ceiling, the other none
        return on(where, [choice] * len(where), plain=True), on([name], [choice], plain=True)

    rng = np.random.default_rng(scoring.seed)
    here = {"validation"} if chosen_on is not None else set()  # the clips of the outer folds are among them, too
    outcome = Outcome(
        row=index.row.name,
        origin=candidates.origin,
        policy=policy,
        per=per,
        chosen_on=chosen_on,
        chosen=choice.shares(index.columns),
        frequencies=frequencies(candidates.seen(deciding)) if chosen else {},
        scores={name: summary(found, scoring.confidence, rng, name in here) for name, found in evidence.items()},
        optimism={
            name: _optimism(candidates, *alike(name, found), deciding, name, scoring.confidence)
            for name, found in evidence.items()
            if chosen_on and name != "validation"
        },
    )
    return Selected(choice, without, evidence, outcome)


def _without(candidates: Candidates, outer: str, settings: Selection, published: Mapping[str, str]) -> Choice:
    """The choice that the inner folds of an outer one make; an ensemble, whose one candidate is fitted, has none."""
    index = candidates.index
    if len(index.spaces) == 1:
        return Choice(index.spaces, np.zeros(index.columns.n_voxels, dtype=np.int16))
    return choose(candidates.seen(inner_of(outer, index.clips)), settings.policy, settings.per, published)


def _optimism(
    candidates: Candidates, flat: Evidence, honest: Evidence, deciding: Sequence[str], split: str, confidence: float
) -> Optimism:
    """flat, honest: in one measure. The part that comes from choosing needs the candidates in it, too."""
    choice, ranks = None, None
    if split == "test" and len(candidates.index.spaces) > 1:
        both = (candidates.seen(deciding), candidates.seen(("test",)))
        if candidates.measure(deciding[0]) == candidates.measure("test"):
            choice = choice_effect(flat, honest, both, confidence)
        else:
            both = (candidates.seen(deciding, "correlation"), candidates.seen(("test",), "correlation"))
        ranks = mean_rank_correlation(rank_correlation(both))
    whole = optimism(flat, honest, confidence)
    return Optimism(**dict(whole), measure=honest.measure, choice=choice, rank_correlation=ranks)
