"""Parameters: every fault in one message, nothing unknown accepted, the two files of one shape."""

import copy
import re

import pytest
import yaml

from cinevox.fitting import feature_spaces
from cinevox.project import params
from conftest import ROOT


@pytest.fixture
def document():
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def test_every_fault_is_reported_at_once_by_dotted_name(document):
    document["splits"]["n_folds"] = 1
    document["frames"]["size"] = "big"
    document["reduction"]["whiten"] = True
    del document["gate"]
    with pytest.raises(params.ParamsError) as caught:
        params.parse(document, "params.yaml")
    message = str(caught.value)
    assert message.startswith("params.yaml: 4 faults")
    for part in ("splits.n_folds", "frames.size", "'big'", "reduction.whiten", "gate: Field required"):
        assert part in message


INTERVALS = r"fields: expected groups of intervals \[first, last\] with .*"


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("spaces.lite0.pool", "max0", r": expected none, max<k> or avg<k> .* \(found 'max0'\)"),
        ("spaces.lite0.pool", ["avg3", 7], r"\.1: expected none, max<k> or .* \(found 7\)"),
        ("spaces.lite0.pool", {"kind": "max", "fields": [[[0, True]]]}, rf"\.{INTERVALS}"),
        ("spaces.lite0.pool", [{"kind": "max", "fields": 3}], rf"\.0\.{INTERVALS}"),
        ("spaces.lite0.pool", {"kind": "min", "fields": [[[0, 5]]]}, r"\.kind: Input should be 'max' or 'avg' .*"),
        ("spaces.lite0.n_components", True, r": expected a number; true and false are none \(found True\)"),
        ("spaces.lite0.n_components", [10, None, 0], r"\.2: Input should be greater than or equal to 1 \(found 0\)"),
        ("spaces.lite0.over_frames", "sum", r": Input should be 'mean', 'max' or 'none' \(found 'sum'\)"),
        ("spaces.lite0.standardize", {}, ": expected a value, or a list of values"),
        ("spaces.lite0.layer", ["a", 2], r"\.1: Input should be a valid string \(found 2\)"),
        (
            "experiments.joint.mini-lite0_pooled-each-ridge.spaces",
            "lite0",
            ": expected a list of names of spaces, or .*",
        ),
        (
            "experiments.joint.mini-lite0_pooled-each-ridge.spaces",
            {"V1": 1},
            r"\.V1: Input should be a valid string .*",
        ),
        ("regressors.ridge.alphas", [1.0, "a"], ": expected a number, a word, .*, or a list of numbers or of words .*"),
        ("regressors.best.candidates", {"ridge": 1}, r"\.ridge: Input should be a valid dictionary .*"),
        ("transfer.learning_rate", True, r": expected a number; true and false are none .*"),
        ("frames.counts", [True, 2], r"\.0: expected a number; true and false are none .*"),
    ],
)
def test_a_field_of_several_forms_has_one_fault_and_a_switch_is_no_number(document, place, value, told):
    *parents, key = place.split(".")
    section = document
    for parent in parents:
        section = section[parent]
    section[key] = value
    with pytest.raises(params.ParamsError) as caught:
        params.parse(document, "p")
    assert re.fullmatch(f"p: 1 fault\n  {re.escape(place)}{told}", str(caught.value))


def test_sections_are_checked_against_each_other(document):
    document["networks"]["alexnet"]["n_frames"] = 7
    row = document["experiments"]["voxelwise"].pop("mini-alexnet-layer-sparse_linear")
    document["experiments"]["voxelwise"]["mini-vgg99-layer-sparse_linear"] = row | {"network": "vgg99"}
    document["report"]["brain_row"] = "nobody"
    document["simulation"] |= {"network": "alexnet", "model": "timm/test_vit", "datasets": ["insilico"]}
    with pytest.raises(params.ParamsError) as caught:
        params.parse(document, "p")
    message = str(caught.value)
    assert "networks.alexnet.n_frames is 7" in message
    assert "vgg99 is not a key of networks (alexnet," in message
    assert "report.brain_row is nobody" in message
    assert "simulation.model is timm/test_vit, and networks.alexnet.model is None: one name means two" in message


NO_NAMES = (
    "",
    "../x",
    "../../../x",
    "a/b",
    "a\\b",
    ".git",
    "-rf",
    "_private",
    "a b",
    "a.b",
    "a;b",
    "a\n",
    "[red]a",
    "=a",
    "ä",
)


@pytest.mark.parametrize(
    "place",
    [
        "dataset.name", "dataset.subjects", "dataset.rois", "simulation.datasets", "simulation.network",
        "tracking.experiment", "networks.", "regressors.", "heads.", "bases.", "experiments.voxelwise.regressor",
    ],
)  # fmt: skip
def test_names_follow_one_pattern_as_they_become_parts_of_paths(document, place):
    """In lists, as keys and as values; the usual ones pass."""
    section, _, key = place.partition(".")
    for name in NO_NAMES:
        content = copy.deepcopy(document)
        found = content[section]
        if place.startswith("experiments"):
            next(iter(found["voxelwise"].values()))["regressor"] = name
        elif not key:
            found[name] = next(iter(found.values()))
        else:
            found[key] = [name] if isinstance(found[key], list) else name
        with pytest.raises(params.ParamsError, match=rf"  {section}.*expected letters, digits, _ and -") as caught:
            params.parse(content, "p")
        assert repr(name) in str(caught.value)
    for name in ("sub-01", "7T_a", "V1"):
        assert params.NAME.fullmatch(name)


@pytest.mark.parametrize("key", ["folder", "clips", "responses"])
@pytest.mark.parametrize("path", ["../x", "data/../../x", "/x", "C:/x", "C:x", "data\\x", "a\x1b"])
def test_folders_stay_inside(document, key, path):
    document["dataset"][key] = path
    with pytest.raises(params.ParamsError, match=r"expected a path (that begins here|without)"):
        params.parse(document, "p")
    document["dataset"][key] = "data/my study/v1.2"
    params.parse(document, "p")


def test_a_message_holds_nothing_that_a_terminal_obeys():
    said = str(params.ParamsError("one \x1b]0;x\x07\n  two \u202e caf\udce9"))
    assert said == "one \\x1b]0;x\\x07\n  two \\u202e caf\\udce9"


def test_a_row_is_called_what_it_is(document):
    rows = document["experiments"]["voxelwise"]
    rows["my-row"] = rows.pop("mini-alexnet-layer-sparse_linear")
    with pytest.raises(params.ParamsError, match="my-row is mini-alexnet-layer-sparse_linear"):
        params.parse(document, "p")


@pytest.mark.parametrize("word", ["layers", "pair_poly1", "_raw", "layer_poly2_raw"])
def test_features_outside_the_grammar_are_refused(document, word):
    rows = document["experiments"]["voxelwise"]
    row = rows.pop("mini-alexnet-layer-sparse_linear") | {"features": word}
    rows[f"mini-alexnet-{word}-sparse_linear"] = row
    with pytest.raises(params.ParamsError, match="expected layer, pair or all, then _raw"):
        params.parse(document, "p")


def test_a_weights_file_stands_where_it_is_used(document):
    document["networks"]["alexnet"] |= {"weights": "file"}
    document["networks"]["efficientnet_lite1"] |= {"file": "a.pth"}
    with pytest.raises(params.ParamsError, match="2 faults"):
        params.parse(document, "p")


def test_a_network_may_be_a_model_of_a_library(document):
    assert all(network.model is None for network in params.parse(document, "mine").networks.values())
    document["networks"]["mine"] = {**document["networks"]["alexnet"], "model": "timm/convnext_tiny.in12k"}
    assert params.parse(document, "mine").networks["mine"].model == "timm/convnext_tiny.in12k"
    document["networks"]["mine"]["model"] = "convnext_tiny.in12k"
    with pytest.raises(params.ParamsError, match=r"networks\.mine\.model"):
        params.parse(document, "mine")


@pytest.mark.parametrize(("standardize", "min_spread"), [(False, 0.05), (False, 0.0), (True, None)])
def test_a_floor_goes_with_standardised_features(document, standardize, min_spread):
    """And what the message advises is taken."""
    document["reduction"] |= {"standardize": standardize, "min_spread": min_spread}
    with pytest.raises(params.ParamsError, match=rf"standardize is {str(standardize).lower()} and min_spread is"):
        params.parse(document, "p")
    document["reduction"]["min_spread"] = 0.0 if standardize else None
    assert params.parse(document, "p").reduction.standardize == standardize


def test_a_row_is_of_one_kind(document, default_params):
    for group, step in (("voxelwise", "scores"), ("roiwise", "scores-roiwise"), ("joint", "scores-joint")):
        for row in getattr(default_params.experiments, group).values():
            base = f"{row.network}-{row.features}" if group == "roiwise" else None
            assert row.is_transfer == (group == "roiwise") and row.base == base
            assert row.instance("scores") == f"{step}@{row.name}"
    name, row = next(iter(document["experiments"]["roiwise"].items()))
    document["experiments"]["voxelwise"][name] = row | {"features": "layer"}
    with pytest.raises(params.ParamsError, match=f"{name} stands in two groups; remove it from one of them"):
        params.parse(document, "p")
    document["experiments"]["voxelwise"].pop(name)
    params.parse(document, "p")


def test_parameters_are_frozen(default_params):
    with pytest.raises(ValueError, match="frozen"):
        default_params.splits.n_folds = 5


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(params.ParamsError, match=r"none.yaml: no such file; run from the repository's root"):
        params.load(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(params.ParamsError, match=r"broken.yaml: not YAML"):
        params.load(tmp_path / "broken.yaml")


def shape(content, depth=0):
    """Keys of a document; names that a user chooses (networks, rows, ...) count as one."""
    free = {"networks", "spaces", "bases", "regressors", "voxelwise", "roiwise", "joint", "generators"}
    return {
        key: "..." if key in free or not isinstance(value, dict) else shape(value, depth + 1)
        for key, value in content.items()
    }


def test_the_winners_file_has_the_keys_of_the_others():
    """Within sections; of what a user names (spaces, rows, ...) those of the section alone."""
    free = {"networks", "spaces", "regressors", "bases", "heads", "voxelwise", "roiwise", "joint", "ensembles", "rows"}
    free |= {"generators"}

    def fields(content):
        return {k: "..." if k in free or not isinstance(v, dict) else fields(v) for k, v in content.items()}

    default, winners = (yaml.safe_load((ROOT / name).read_text()) for name in ("params.yaml", "params.winners.yaml"))
    assert fields(default) == fields(winners)
    assert set(default["regressors"]) < set(winners["regressors"])  # `cinevox warm` builds each


def test_paper_and_default_have_the_same_keys_and_a_row_in_both_is_the_same_row():
    default, paper = (yaml.safe_load((ROOT / name).read_text()) for name in ("params.yaml", "params.paper.yaml"))
    assert shape(default) == shape(paper)
    params.parse(copy.deepcopy(paper), "params.paper.yaml")
    rows, reported = default["experiments"]["voxelwise"], paper["experiments"]["voxelwise"]
    shared = rows.keys() & reported.keys()
    assert shared
    assert {name: rows[name] for name in shared} == {name: reported[name] for name in shared}


def test_a_space_is_given_to_every_roi_or_to_none(document):
    rois = document["dataset"]["rois"]
    space = {"network": "alexnet", "layer": "x", "over_frames": "max", "standardize": False, "n_components": None}
    document["spaces"] = {"one": space | {"pool": "max3"}, "many": space | {"pool": ["max3", "max5"]}}
    row = {"track": "mini", "label": "mine", "together": "each", "regressor": "ridge", "reported": None}
    given = dict.fromkeys(rois, "one") | {"V1": "many.max5", "V2": ["one", "many.max3"]}
    joint = document["experiments"]["joint"] = {"mini-mine-each-ridge": row | {"spaces": given}}
    found = params.parse(document, "p")
    assert found.experiments.joint["mini-mine-each-ridge"].fixed["V2"] == ("one", "many.max3")
    assert list(found.spaces_of(found.experiments.joint["mini-mine-each-ridge"])) == ["many.max5", "one", "many.max3"]
    for changed, message in (
        ({"V9": "one"}, "expected together: each, and a space for each ROI of the track \\(V1, V2"),
        ({"V1": "many"}, "many stands for many.max3, many.max5; name one of these for an ROI"),
        ({"V1": "none"}, "none is not in spaces"),
    ):
        joint["mini-mine-each-ridge"]["spaces"] = given | changed
        with pytest.raises(params.ParamsError, match=message):
            params.parse(document, "p")
    joint["mini-mine-concat-ridge"] = joint.pop("mini-mine-each-ridge") | {"together": "concat", "spaces": given}
    with pytest.raises(params.ParamsError, match="and together is concat; expected together: each"):
        params.parse(document, "p")


def test_candidates_of_each_word():
    layers = ["a", "b", "c"]
    assert [s.name for s in feature_spaces.candidates("layer", layers)] == layers
    assert [s.name for s in feature_spaces.candidates("pair", layers)] == ["a+b", "a+c", "b+c"]
    (every,) = feature_spaces.candidates("all_raw_poly3", layers)
    assert every == feature_spaces.Candidate("a+b+c", ("a", "b", "c"), raw=True, degree=3)
    with pytest.raises(ValueError, match="layers"):
        feature_spaces.candidates("layers", layers)


@pytest.mark.parametrize(("file", "fewest"), [("adding", 6), ("spaces", 4), ("simulation", 2)])
def test_the_examples_of_the_docs_fit_this_run(document, file, fewest):
    """Each block of the page, put into params.yaml as it stands."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / f"docs/{file}.md").read_text(), re.DOTALL)
    assert len(blocks) >= fewest
    for block in blocks:
        for section, added in yaml.safe_load(block).items():
            kinds = added if section == "experiments" else {"": added}
            for kind, keys in kinds.items():
                (document[section][kind] if kind else document[section]).update(keys)
    params.parse(document, "params.yaml")
