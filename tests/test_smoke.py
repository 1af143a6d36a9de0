"""The paper's run in small: every row and network of it, none of its size."""

import pytest
import yaml

from cinevox import cli
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
