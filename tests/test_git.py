"""Without the program git: what only asks goes on as outside of a repository, what needs it says so."""

import pytest

from cinevox import cli
from cinevox.errors import InputError
from cinevox.outlets import gate
from cinevox.outlets.tracking import data, history
from cinevox.project import identity, remote_guard
from cinevox.project.paths import Paths
from conftest import ROOT


@pytest.fixture(autouse=True)
def _no_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def test_what_only_asks_is_told_nothing():
    assert identity.commit(ROOT) is None
    assert history.experiments(ROOT) == [] and data.remote(ROOT) == ""
    assert history.keys_at(Paths(ROOT), "HEAD") == {} and history.revisions(Paths(ROOT)) == []


def test_what_needs_it_says_so(monkeypatch, capsys):
    with pytest.raises(gate.GateError, match=r"^HEAD:.*: git can't be run \(No such file.*install it"):
        gate.read_revision(Paths(ROOT), "HEAD")
    with pytest.raises(InputError, match=r"no hook to install: git can't be run"):
        remote_guard.install_hook(ROOT)
    monkeypatch.chdir(ROOT)
    assert cli.main(["tidy"]) == 2
    assert "cinevox tidy: git can't be run" in capsys.readouterr().err
