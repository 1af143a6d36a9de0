"""Checks of who saw what, before any long work: every subject has enough stimuli of each part of the splits."""

from __future__ import annotations

import numpy as np

from cinevox.errors import InputError
from cinevox.measured.cohorts import NO_CHALLENGE, of_subject
from cinevox.measured.datasets import is_trial_data, open_dataset, stimuli_of
from cinevox.project.params import Params
from cinevox.project.paths import Paths
from cinevox.statistics.splits import partitions, split
from cinevox.validation import groups


def check_cohorts(paths: Paths, params: Params) -> None:
    """Require enough stimuli of each subject, as `Cohort.partition` does.

    params: has the sections dataset, simulation, splits and submission

    Raises
    ------
    InputError
        Subjects have too few, all of them in one message; or the study cannot be split, or a submission is asked for.
        Nothing is said of a study that cannot be opened.
    """
    if params.dataset.folder in map(paths.simulation, params.simulation.datasets):
        return
    try:
        dataset = open_dataset(params.dataset)
    except InputError:
        return  # another check tells so
    if not is_trial_data(dataset):
        return
    stimuli, n_train = stimuli_of(dataset), dataset.n_train
    together = np.array(groups(params.dataset, stimuli, n_train), dtype=np.intp) if params.dataset.together else None
    n_test = len(stimuli) - n_train
    wanted = partitions(split(n_train, n_test, params.splits, together), params.splits, together)
    tested = any(map(dataset.has_test_responses, params.dataset.tracks))
    faults = []
    if params.submission.every:
        faults.append(f"{params.dataset.folder}: {NO_CHALLENGE}; set submission.rows and submission.ensembles to {{}}")
    for subject in params.dataset.subjects:
        shown = dataset.seen("test", subject) if tested else np.arange(n_test)
        own = of_subject(subject, dataset.seen("train", subject), shown, n_train)
        try:
            for part in wanted:
                own.partition(part, params.splits.n_folds)
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
