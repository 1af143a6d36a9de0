"""Predictions of folds by fits on the other folds, as nested selection scores them."""

import numpy as np


def cross_predicted(x, y, n_folds):
    """Each fold as ridge regression on the others predicts it; lists of (n_clips, n_voxels)."""
    measured, predicted = [], []
    for fold in np.array_split(np.arange(len(x)), n_folds):
        rest = np.setdiff1d(np.arange(len(x)), fold)
        centred, target = x[rest] - x[rest].mean(axis=0), y[rest] - y[rest].mean(axis=0)
        weights = np.linalg.solve(centred.T @ centred + len(x) * np.eye(x.shape[1]), centred.T @ target)
        measured.append(y[fold])
        predicted.append((x[fold] - x[rest].mean(axis=0)) @ weights)
    return measured, predicted
