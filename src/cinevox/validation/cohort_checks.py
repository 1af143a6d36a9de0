"""Checks of who saw what, before any long work: every subject has enough stimuli of each part of the splits."""

from __future__ import annotations

import numpy as np

from cinevox.errors import InputError
from cinevox.measured.cohorts import NO_CHALLENGE, of_subject
from cinevox.measured.datasets import is_trial_data, open_dataset, stimuli_of
from cinevox.project.params import Params
from cinevox.project.paths import Paths
from cinevox.statistics.splits import Indices, folds, partitions, split
from cinevox.validation import groups

FEW = 20  # test stimuli, under which a ceiling and a chance say little


def check_cohorts(paths: Paths, params: Params) -> list[str]:
    """Require enough stimuli of each subject, as `Cohort.partition` does; returns a sentence where they are few.

    params: has the sections dataset, simulation, splits, submission and experiments

    Raises
    ------
    InputError
        Subjects have too few, all of them in one message; or the study cannot be split, or a submission is asked for.
        Nothing is said of a study that cannot be opened.
    """
    if params.dataset.folder in map(paths.simulation, params.simulation.datasets):
        return []
    try:
        dataset = open_dataset(params.dataset)
    except InputError:
        return []  # another check tells so
    if not is_trial_data(dataset):
        return []
    stimuli, n_train = stimuli_of(dataset), dataset.n_train
    together = np.array(groups(params.dataset, stimuli, n_train), dtype=np.intp) if params.dataset.together else None
    n_test = len(stimuli) - n_train
    wanted = partitions(split(n_train, n_test, params.splits, together), params.splits, together)
    tested = any(map(dataset.has_test_responses, params.dataset.tracks))
    faults, fewest = [], n_test
    if params.submission.every:
        faults.append(f"{params.dataset.folder}: {NO_CHALLENGE}; set submission.rows and submission.ensembles to {{}}")
    for subject in params.dataset.subjects:
        shown = dataset.seen("test", subject) if tested else np.arange(n_test)
        fewest = min(fewest, len(shown))
        own = of_subject(subject, dataset.seen("train", subject), shown, n_train)
        try:
            for part in wanted:
                train = own.partition(part, params.splits.n_folds).train
                if together is not None:
                    _require_folds(together[dataset.seen("train", subject)][train], params)
        except InputError as error:
            told = str(error)
            faults.append(told if told.startswith(subject) else f"{subject}: {told}")
    if faults:
        raise InputError("\n".join(faults))
    if 0 < fewest < FEW:
        return [
            f"a subject has {fewest} test stimuli: correlations, noise ceilings and chances of so few say little; "
            f"hold out {FEW} or more (dataset.test), or none and set selection.policy: nested"
        ]
    return []


def _require_folds(groups: Indices, params: Params) -> None:
    """Require that whole groups make the folds inside of a fit, and those that a stack's weights are chosen on."""
    n_folds = params.splits.n_folds
    stacked = any(row.together == "stack" for row in params.experiments.joint.values())
    for fold in folds(len(groups), n_folds, groups):
        parts = folds(len(fold.fit), n_folds, groups[fold.fit]) if stacked else (fold,)
        if (fewest := min(len(part.fit) for part in (fold, *parts))) < 2:
            raise InputError(
                f"groups of dataset.together leave {fewest} training stimuli to a fold; lower splits.n_folds or "
                "choose a column with more values"
            )
