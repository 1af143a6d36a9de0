"""Transfer networks: the loss against independent formulas, learning, resuming, and one by one against together."""

import numpy as np
import pytest
import torch
from joblib import parallel_config
from torch import nn

from cinevox.fitting import transfer
from cinevox.fitting.transfer.heads import RoiNetwork
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Base, Head, Splits, Transfer
from cinevox.statistics.splits import split

LINEAR = Head(
    lstm=[], voxel_lstm=False, fully_connected=[], lstm_dropout=0.0, dropout=0.0, sequence="frame", standardize=False
)
DEEP = Head(
    lstm=[6], voxel_lstm=True, fully_connected=[5], lstm_dropout=0.3, dropout=0.2, sequence="frame", standardize=False
)
SETTINGS = Transfer(
    n_epochs=4, batch_clips=8, learning_rate=0.01, mse_weight=0.0, voxel_weights="equal", patience=None, rois_at_once=2,
    compute="float32", device="cpu", keep_weights="best", seed=0,
)  # fmt: skip
COLUMNS = Columns((Block("sub01", "V1", 3), Block("sub01", "V2", 4), Block("sub01", "V3", 1), Block("sub02", "V1", 2)))
MAP = (3, 2, 2)
N_CLIPS, N_TEST = 50, 10
SPLIT = split(N_CLIPS, N_TEST, Splits(scheme="random", validation_fraction=0.2, n_folds=3, n_outer_folds=None, seed=0))


@pytest.fixture
def activations(rng):
    return rng.standard_normal((N_CLIPS + N_TEST, 3, 12)).astype(np.float16)


@pytest.fixture
def measured(rng, activations):
    """Responses that are a linear map of the mean over frames, with little noise."""
    true = activations.astype(np.float32).mean(axis=1) @ rng.standard_normal((12, COLUMNS.n_voxels))
    return (true + 0.1 * rng.standard_normal(true.shape)).astype(np.float32)


def problem(activations, head=LINEAR, tuned=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    scaling = transfer.scaling(activations, SPLIT.train) if head.standardize else None
    return transfer.TrainingProblem(
        "row", {"layer": "x"}, activations, MAP, tuned, scaling, SPLIT, head, settings, "cpu"
    )


def run(made, measured, folder, columns=COLUMNS, **options):
    where = slice(0, N_CLIPS)
    return list(transfer.train(made, measured[where], options.pop("reliability", None), columns, folder, **options))


# The loss


def test_the_loss_is_one_minus_pearsons_r(rng):
    p, m = rng.standard_normal((2, 20, 6))
    r = [np.corrcoef(p[:, v], m[:, v])[0, 1] for v in range(6)]
    loss = transfer.correlation_loss(torch.tensor(p), torch.tensor(m))
    assert loss.item() == pytest.approx(1 - np.mean(r), abs=1e-12)
    weights = rng.uniform(size=6)
    weighted = transfer.correlation_loss(torch.tensor(p), torch.tensor(m), torch.tensor(weights))
    assert weighted.item() == pytest.approx(1 - np.average(r, weights=weights), abs=1e-12)


def test_its_gradient_is_that_of_finite_differences_and_of_the_formula(rng):
    p, m = (torch.tensor(values) for values in rng.standard_normal((2, 7, 3)))
    assert torch.autograd.gradcheck(lambda x: transfer.correlation_loss(x, m), (p.clone().requires_grad_(),))
    p.requires_grad_()
    transfer.correlation_loss(p, m).backward()
    unit = lambda x: (x - x.mean(0)) / (x - x.mean(0)).norm(dim=0)  # noqa: E731
    zp, zm = unit(p.detach()), unit(m)
    r = (zp * zm).sum(0)
    expected = -(zm - r * zp) / (p.detach() - p.detach().mean(0)).norm(dim=0) / 3  # -d r / d p, mean over voxels
    torch.testing.assert_close(p.grad, expected)


def test_it_does_not_see_a_voxels_scale_and_shift(rng):
    p, m = (torch.tensor(values) for values in rng.standard_normal((2, 9, 4)))
    scale, shift = torch.tensor([0.01, 1, 30, 1e4]), torch.tensor([-5, 0, 3, 1e3])
    loss = transfer.correlation_loss(p, m)
    torch.testing.assert_close(transfer.correlation_loss(p * scale + shift, m), loss)
    torch.testing.assert_close(transfer.correlation_loss(p, m * scale + shift), loss)


def test_what_does_not_vary_has_no_correlation_and_no_gradient(rng):
    p, m = (torch.tensor(values) for values in rng.standard_normal((2, 9, 3)))
    m[:, 1] = 4.2
    p[:, 2] = -7e5
    p.requires_grad_()
    loss = transfer.correlation_loss(p, m)
    loss.backward()
    r = np.corrcoef(p.detach()[:, 0], m[:, 0])[0, 1]
    assert loss.item() == pytest.approx(1 - r / 3)
    assert p.grad[:, 0].abs().min() > 0 and not p.grad[:, 1:].any()


def test_a_batch_of_one_clip_has_loss_one_and_teaches_nothing():
    p = torch.randn(1, 4, requires_grad=True)
    loss = transfer.correlation_loss(p, torch.randn(1, 4))
    loss.backward()
    assert loss.item() == 1 and not p.grad.any()


@pytest.mark.parametrize(("n", "sizes"), [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (1, [1]), (3, [3])])
def test_batches_hold_every_clip_once_and_never_one_alone_beside_others(rng, n, sizes):
    rows = np.arange(100, 100 + n)
    found = transfer.batches(rows, 4, rng)
    assert [len(batch) for batch in found] == sizes
    assert sorted(np.concatenate(found)) == list(rows)


# Training


def test_a_head_learns_a_linear_map_to_near_its_ceiling(activations, measured, tmp_path):
    found = run(problem(activations, n_epochs=60), measured, tmp_path)
    assert [t.block for t in found] == list(COLUMNS.blocks)
    for trained, where in zip(found, COLUMNS.slices):
        predicted = trained.predicted["test"]
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, measured[N_CLIPS:, where].T)]
        assert np.mean(r) > 0.95
        scores = [entry["validation_correlation"] for entry in trained.curve]
        assert len(scores) == 60 and trained.best_epoch == 1 + int(np.argmax(scores))
        held_out = measured[SPLIT.validation, where]
        of_best = [np.corrcoef(a, b)[0, 1] for a, b in zip(trained.predicted["validation"].T, held_out.T)]
        assert np.mean(of_best) == pytest.approx(max(scores), abs=1e-5)  # the best epoch's weights predict


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_together_is_one_by_one(activations, measured, tmp_path, n_jobs):
    with parallel_config(backend="threading", n_jobs=n_jobs):
        together = run(problem(activations, DEEP, rois_at_once=3), measured, tmp_path)
    for number, (block, where) in enumerate(zip(COLUMNS.blocks, COLUMNS.slices)):
        alone = run(problem(activations, DEEP, rois_at_once=1), measured[:, where], tmp_path, Columns((block,)))[0]
        assert alone.curve == together[number].curve
        np.testing.assert_array_equal(alone.predicted["test"], together[number].predicted["test"])


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_from_its_last_epoch(activations, measured, tmp_path):
    whole = run(problem(activations, DEEP), measured, tmp_path / "whole")
    ticks = []

    def kill():
        ticks.append(1)
        if len(ticks) == 3:
            raise Killed

    with pytest.raises(Killed):
        run(problem(activations, DEEP), measured, tmp_path / "killed", tick=kill)
    after = []
    again = run(problem(activations, DEEP), measured, tmp_path / "killed", tick=lambda: after.append(1))
    assert len(after) == 3 * 4 - 3  # three groups of four epochs; three were done
    assert [t.curve for t in again] == [t.curve for t in whole]
    for a, b in zip(again, whole):
        np.testing.assert_array_equal(a.predicted["test"], b.predicted["test"])
    assert not list((tmp_path / "killed").iterdir())


def test_work_of_other_settings_is_not_taken_up(activations, measured, tmp_path):
    stop = iter([None, Killed()])

    def kill():
        if (error := next(stop)) is not None:
            raise error

    with pytest.raises(Killed):
        run(problem(activations), measured, tmp_path, tick=kill)
    (before,) = tmp_path.iterdir()
    changed = run(problem(activations, learning_rate=0.02), measured, tmp_path)
    assert changed[0].curve != run(problem(activations), measured, tmp_path)[0].curve
    assert not before.exists()


def test_patience_stops_a_network_and_no_other(activations, measured, tmp_path):
    measured = measured.copy()
    measured[:, :3] = np.random.default_rng(3).standard_normal((len(measured), 3))  # nothing to learn in V1
    found = run(problem(activations, n_epochs=40, patience=2, rois_at_once=4), measured, tmp_path)
    alone = run(problem(activations, n_epochs=40), measured, tmp_path)
    for stopped, full in zip(found, alone):
        n = len(stopped.curve)
        assert stopped.curve == full.curve[:n]
        assert n == 40 or n == stopped.best_epoch + 2
    assert len(found[0].curve) < len(found[1].curve)


def test_frozen_parameters_do_not_change_and_tuned_ones_do(activations, measured, tmp_path):
    blocks = nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU())
    before = [weight.clone() for weight in blocks.parameters()]
    (first, *_) = run(problem(activations, tuned=blocks), measured, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(before, blocks.parameters()))  # each network has its own copy
    assert not torch.equal(first.state["tuned.0.weight"], before[0])
    (frozen, *_) = run(problem(activations), measured, tmp_path)
    assert set(frozen.state) == {"head.last.weight", "head.last.bias"}


def test_reliable_voxels_count_more(activations, measured, tmp_path):
    columns = Columns((Block("sub01", "V1", 10),))
    weights = np.array([1.0] + [-0.5] * 9)  # negative reliability is none
    (weighted,) = run(problem(activations), measured, tmp_path, columns, reliability=weights)
    (alone,) = run(problem(activations), measured[:, :1], tmp_path, Columns((Block("sub01", "V1", 1),)))
    (equal,) = run(problem(activations), measured, tmp_path, columns)
    assert weighted.curve[-1]["loss"] == pytest.approx(alone.curve[-1]["loss"], abs=0.05)
    assert weighted.curve != equal.curve
    (unreliable,) = run(problem(activations), measured, tmp_path, columns, reliability=-np.ones(10))
    assert unreliable.curve == equal.curve  # nothing is reliable: all count the same


def test_mean_squared_error_can_be_mixed_in(activations, measured, tmp_path):
    (mixed, *_) = run(problem(activations, mse_weight=1.0, n_epochs=80), measured, tmp_path)
    target = measured[:N_CLIPS, :3]
    fitted = target[SPLIT.train]
    standard = (measured[N_CLIPS:, :3] - fitted.mean(axis=0)) / fitted.std(axis=0)
    assert np.mean((mixed.predicted["test"] - standard) ** 2) < 0.15  # in scale too, which r alone leaves free


def test_networks_do_not_depend_on_the_units_of_the_responses(activations, measured, tmp_path):
    """Every voxel is standardised, so that mse_weight means the same in any unit."""
    made = problem(activations, mse_weight=1.0, n_epochs=3)
    plain, scaled = (run(made, scale * measured, tmp_path / str(scale)) for scale in (np.float32(1), np.float32(1024)))
    for one, other in zip(plain, scaled):
        np.testing.assert_array_equal(one.predicted["test"], other.predicted["test"])


def test_bfloat16_learns_the_same_to_its_precision(activations, measured, tmp_path):
    (coarse, *_) = run(problem(activations, compute="bfloat16", n_epochs=20), measured, tmp_path)
    (fine, *_) = run(problem(activations, n_epochs=20), measured, tmp_path)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(coarse.predicted["test"].T, fine.predicted["test"].T)]
    assert min(r) > 0.99


def test_a_loss_that_is_not_finite_stops_with_what_and_where(activations, measured, tmp_path):
    activations[SPLIT.train[0]] = np.nan
    message = r"row, sub01 V1: the loss is nan in epoch 1; lower transfer.learning_rate \(0.01\)"
    with pytest.raises(transfer.TransferError, match=message):
        run(problem(activations), measured, tmp_path)


# Checkpoints


def test_a_checkpoint_gives_the_same_predictions_and_holds_plain_values(activations, measured, tmp_path):
    made = problem(activations, DEEP)
    trained = run(made, measured, tmp_path / "work")[1]
    base = Base(network="alexnet", features="frozen", n_frames=3)
    transfer.write_checkpoint(tmp_path / "sub01-V2.pt", base, made, trained)
    found = torch.load(tmp_path / "sub01-V2.pt", weights_only=True)
    assert (found["subject"], found["roi"], found["n_voxels"]) == ("sub01", "V2", 4)
    network = transfer.read_checkpoint(tmp_path / "sub01-V2.pt")
    assert isinstance(network, RoiNetwork)
    with torch.inference_mode():
        predicted = network(torch.from_numpy(activations[SPLIT.test]).float())
    np.testing.assert_allclose(predicted, trained.predicted["test"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"cos\nsystem\n(S'touch hacked'\ntR."])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(transfer.TransferError, match=r"bad\.pt is no checkpoint of a transfer network"):
        transfer.read_checkpoint(tmp_path / "bad.pt")


def test_groups_are_a_subjects_own():
    found = transfer.groups(COLUMNS, 2)
    assert [[block.roi for block, _ in group] for group in found] == [["V1", "V2"], ["V3"], ["V1"]]
    assert found[1][0][1] == slice(7, 8)
    assert transfer.n_ticks(COLUMNS, SETTINGS) == 3 * 4


def test_curves_mark_the_best_epoch(activations, measured, tmp_path):
    table = transfer.curves(run(problem(activations), measured, tmp_path))
    assert list(table.columns) == [
        "subject", "roi", "epoch", "loss", "train_correlation", "validation_correlation", "best",
    ]  # fmt: skip
    assert len(table) == 4 * 4 and table["best"].sum() == 4
    best = table[table["best"]].set_index(["subject", "roi"])["validation_correlation"]
    assert (best == table.groupby(["subject", "roi"])["validation_correlation"].max().loc[best.index]).all()


@pytest.mark.parametrize(("policy", "expected"), [("none", 0), ("best", 1), ("all", 4)])
def test_weights_are_kept_as_asked(activations, measured, tmp_path, policy, expected):
    made, best = problem(activations, keep_weights=policy), -np.inf
    found = run(made, measured, tmp_path / "work")
    for trained in found:
        best = transfer.keep_weights(
            tmp_path / "kept", Base(network="alexnet", features="frozen", n_frames=3), made, trained, best
        )
    kept = sorted(path.stem for path in tmp_path.glob("kept/*.pt"))
    assert len(kept) == expected and best == max(t.score for t in found)
    if policy == "best":
        assert kept == [transfer.diagnostics(found)["best_network"]]


def test_activations_can_be_standardised_on_the_training_clips(activations, measured, tmp_path):
    trained = activations[SPLIT.train].astype(np.float64).reshape(-1, 12)
    mean, spread = transfer.scaling(activations, SPLIT.train)
    np.testing.assert_allclose(mean, trained.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(spread, trained.std(axis=0), rtol=1e-6)
    head = LINEAR.model_copy(update={"standardize": True})
    made = problem(activations, head)
    found = run(made, measured, tmp_path / "work")[0]
    moved = problem((activations * np.float16(8) + np.float16(2)), head)  # the same up to scale, shift and rounding
    again = run(moved, measured, tmp_path / "work")[0]
    np.testing.assert_allclose(again.predicted["test"], found.predicted["test"], atol=0.05)
    transfer.write_checkpoint(tmp_path / "x.pt", Base(network="alexnet", features="frozen", n_frames=3), made, found)
    with torch.inference_mode():
        predicted = transfer.read_checkpoint(tmp_path / "x.pt")(torch.from_numpy(activations[SPLIT.test]).float())
    np.testing.assert_allclose(predicted, found.predicted["test"], rtol=1e-5, atol=1e-6)


def test_an_activation_that_hardly_varies_is_left_out(activations, measured, tmp_path):
    """Silent in the training clips, or with float noise in one of them; its activity in a test clip changes nothing."""
    activations = activations.astype(np.float32)
    activations[:, :, 4], activations[:, :, 7] = 3.0, 0.0
    activations[SPLIT.train[2], 1, 7] = 2e-6
    mean, spread = (each.numpy() for each in transfer.scaling(activations, SPLIT.train))
    assert mean[4] == 3.0 and spread[4] == spread[7] == np.inf and np.isfinite(np.delete(spread, [4, 7])).all()
    head = LINEAR.model_copy(update={"standardize": True})
    found = run(problem(activations, head), measured, tmp_path / "work")[0]
    activations[SPLIT.test, :, 4], activations[SPLIT.test, :, 7] = 5.0, 1.0
    again = run(problem(activations, head), measured, tmp_path / "work")[0]
    np.testing.assert_array_equal(again.predicted["test"], found.predicted["test"])
