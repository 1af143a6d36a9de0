"""The paper's run in small: every row and network of it, none of its size."""

from types import SimpleNamespace

import pytest
import yaml

from cinevox import cli
from cinevox.errors import InputError
from cinevox.project import params, plugins, smoke
from conftest import ROOT


def parsed(name):
    return yaml.safe_load((ROOT / name).read_text())


def test_every_row_and_network_of_the_paper_is_there_and_nothing_is_downloaded(paper_params):
    found = params.parse(smoke.parameters(parsed("params.paper.yaml"), parsed("params.yaml")), "smoke")
    assert list(found.experiments.rows) == list(paper_params.experiments.rows)
    others = set(found.networks) - set(paper_params.networks)
    assert set(paper_params.networks) <= set(found.networks)
    assert [plugins.load("networks", name).n_frames for name in others] == [16]  # a video network
    assert {network.weights for network in found.networks.values()} == {"random"}
    assert found.dataset.name in found.simulation.datasets
    assert found.dataset.tracks == ["mini", "full"]
    assert found.report.brain_row in found.experiments.rows or found.report.brain_row is None


def test_the_paper_has_nineteen_and_nine_rows(paper_params):
    tracks = [row.track for row in paper_params.experiments.rows.values()]
    assert (tracks.count("mini"), tracks.count("full")) == (19, 9)
    assert all(row.reported is not None for row in paper_params.experiments.rows.values())


def test_the_folder_holds_the_flow_and_what_lay_there_is_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    folder = tmp_path / "smoke"
    assert cli.main(["smoke", str(folder)]) == 0
    (folder / "data/old").write_text("of an earlier run")
    assert cli.main(["smoke", str(folder)]) == 0
    assert "28 rows" in capsys.readouterr().out
    assert {"dvc.yaml", "params.yaml", "params.paper.yaml", "stages", "src", "data"} <= {
        p.name for p in folder.iterdir()
    }
    assert not list((folder / "data").iterdir())
    assert cli.main(["smoke", str(folder), "--params", "params.winners.yaml"]) == 0
    assert "9 rows" in capsys.readouterr().out


def test_every_row_of_the_winners_is_there_on_little_data():
    winners = parsed("params.winners.yaml")
    whole = params.parse(winners, "params.winners.yaml")
    found = params.parse(smoke.parameters(winners, parsed("params.yaml")), "smoke")
    assert found.experiments == whole.experiments and found.spaces == whole.spaces
    assert set(found.networks) >= set(whole.networks) and found.simulation.n_train < 100
    policies = {name: network.weights for name, network in found.networks.items()}
    assert {name for name, policy in policies.items() if policy == "none"} == {"displacement", "motion_energy"}
    assert set(policies.values()) == {"random", "none"}
    assert {network.n_frames for network in found.networks.values()} <= set(found.frames.counts)


def test_the_winners_alpha_and_grids_are_those_of_their_report():
    found = params.load(ROOT / "params.winners.yaml")
    assert found.regressors["ridge_1e4"] == {"kind": "ridge", "alphas": [1e4], "per": "voxel"}
    n_fields = {  # features / channels, of the reference's table
        "v1": 25_088 / 512, "v2_v3": 50_176 / 1024, "v4": 25_600 / 1024, "body": 10_240 / 1024, "ppa": 9_216 / 1024,
        "sts": 2_048 / 1024,
    }  # fmt: skip
    for name, n in n_fields.items():
        pool = found.feature_spaces[name].pool
        n_here = int(pool.removeprefix("max")) ** 2 if isinstance(pool, str) else sum(len(g) ** 2 for g in pool.fields)
        assert n_here == n, name
    rows = found.experiments.joint
    assert rows["mini-bionn-each-ridge"].fixed == rows["mini-bionn-each-ridge_1e4"].fixed


def test_models_of_libraries_come_along_and_what_can_t_be_simulated_is_refused(monkeypatch):
    default, large = parsed("params.yaml"), parsed("params.yaml")

    def smaller(model, layer):
        entry = {"weights": "random", "file": None, "sha256": None, "n_frames": 2, "seed": 3, "model": model}
        space = {"network": "mine", "layer": layer, "pool": "none", "over_frames": "mean"}
        spaces = {"m": space | {"standardize": True, "n_components": None}}
        networks = large["networks"] | {"mine": entry}
        return params.parse(
            smoke.parameters(large | {"networks": networks, "spaces": spaces | large["spaces"]}, default), ""
        )

    found = smaller("timm/vit_tiny_patch16_224", "maps.blocks.3")
    assert (found.networks["mine"].model, found.networks["mine"].weights) == ("timm/vit_tiny_patch16_224", "random")
    assert found.frames.size == large["frames"]["size"] and found.spaces["m"].layer == "maps.blocks.3"
    real, clips = (
        plugins.network_of,
        SimpleNamespace(n_frames=16, is_fixed=False, layers=[f"hidden.{n}" for n in range(13)]),
    )
    monkeypatch.setattr(plugins, "network_of", lambda name, *given: clips if name == "mine" else real(name, *given))
    video = "transformers/VideoMAEModel/MCG-NJU/videomae-base@abc"
    assert smaller(video, "hidden.12").networks["mine"].n_frames == 16  # its positions are those of so many frames
    with pytest.raises(InputError, match=r"spaces\.m: mine has random weights .*, without hidden\.13 \(hidden\.0 to"):
        smaller(video, ["hidden.12", "hidden.13"])
    with pytest.raises(InputError, match=r"networks\.mine: features that were brought are of a study's own clips"):
        smaller("array", "words")


@pytest.mark.parametrize("given", [".", "..", "data", "params.yaml"])
def test_no_folder_but_its_own_is_replaced(tmp_path, monkeypatch, capsys, given):
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    for name in ("params.yaml", "data/kept"):
        (home / name).write_text("mine")
    monkeypatch.chdir(home)
    assert cli.main(["smoke", given]) == 2
    assert f"cinevox smoke: {given}: " in (told := capsys.readouterr().err) and "name a new folder" in told
    assert (home / "params.yaml").read_text() == (home / "data/kept").read_text() == "mine"
