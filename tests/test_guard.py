"""Restricted data and DVC's remotes, with DVC itself: what is bound to `private` goes there, and nowhere else."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cinevox import cli
from cinevox.errors import InputError
from cinevox.project import params, plugins, remote_guard
from cinevox.project.paths import Paths
from conftest import ROOT

BIN = Path(sys.executable).parent


class Clone:
    """A git repository with DVC in it, this repository's settings, and commands that run there."""

    def __init__(self, folder, parameters="params.paper.yaml"):
        self.folder = folder
        paths = [str(BIN), os.environ["PATH"]]
        self.environment = os.environ | {
            "PATH": os.pathsep.join(paths),
            "PYTHONPATH": str(ROOT / "src"),
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        (folder / "data").mkdir(parents=True)
        self.run("git", "init", "--quiet", "-b", "main")
        self.run("dvc", "init", "--quiet")
        shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
        shutil.copy(ROOT / "data" / ".gitignore", folder / "data")
        shutil.copy(ROOT / parameters, folder / "params.yaml")

    def run(self, *command, code=0):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def commit(self, words):
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", words)


def test_the_repository_has_no_default_remote_and_no_loose_data(default_params, paper_params):
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    assert "remote" not in config["core"]
    for settings in (default_params, paper_params):
        assert remote_guard.faults(Paths(ROOT), settings) == []


def test_a_data_set_is_restricted_unless_its_plugin_says_otherwise():
    found = {name: plugins.load("datasets", name) for name in plugins.names("datasets")}
    assert not found["insilico"].restricted and found["algonauts2021"].restricted
    assert "not to be redistributed" in found["algonauts2021"].licence


def dvc_file(folder, name, deps=(), **fields):
    path = folder / "data" / f"{name}.dvc"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"outs": [{"path": path.stem, "md5": "0" * 32, "hash": "md5"} | fields]}
    path.write_text(yaml.safe_dump(content | ({"deps": list(deps)} if deps else {})))
    return path


def test_what_is_loose_is_named_and_bound(tmp_path, default_params, paper_params):
    paths = Paths(tmp_path)
    loose, free = dvc_file(tmp_path, "study"), dvc_file(tmp_path, "insilico")
    dvc_file(tmp_path, "bound", remote="private")
    dvc_file(tmp_path, "kept", push=False)
    here = default_params.dataset.model_copy(update={"folder": tmp_path / "data/insilico"})
    settings = default_params.model_copy(update={"dataset": here})
    assert [line.split(": ")[0] for line in remote_guard.faults(paths, settings)] == [str(loose)]
    forgotten = paper_params.model_copy(update={"storage": params.Storage(remote="")})
    told = remote_guard.faults(paths, forgotten)
    assert told[0].startswith("storage.remote is '', and Algonauts 2021 may not be passed on (for non-commercial")
    assert len(told) == 3 and str(free) in told[1] + told[2]
    with pytest.raises(InputError, match=r"could leave this machine\n.*study.*cinevox guard --fix"):
        remote_guard.require(paths, settings)
    assert remote_guard.bind(paths, settings) == [str(loose)]
    assert yaml.safe_load(loose.read_text())["outs"][0]["remote"] == "private"
    assert remote_guard.faults(paths, settings) == [] and "remote" not in free.read_text()
    loose.write_text("outs: 3\n")
    with pytest.raises(InputError, match=r"study\.dvc: no \.dvc file of outputs .*make it again"):
        remote_guard.faults(paths, settings)


def test_the_exit_codes_are_those_of_the_help(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "params.paper.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote_guard, "remotes", lambda root: {})
    assert cli.main(["guard"]) == 0
    path = dvc_file(tmp_path, "study")
    assert cli.main(["guard"]) == 1
    path.write_text("outs: 3\n")
    assert cli.main(["guard"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["guard", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "0: nothing would; 1: something would; 2: something could not be looked at" in told


def test_what_lies_deeper_is_found_too(tmp_path, paper_params):
    """The clips and imports of the README's recipe; a data set outside of data/; nothing of other repositories."""
    source = {"path": "s3://openneuro.org/ds005165/sub-01"}
    stimuli = dvc_file(tmp_path, "bold_moments/stimuli")
    imported = dvc_file(tmp_path, "bold_moments/derivatives/TRavg56789/sub-01", deps=[source])
    dvc_file(tmp_path, "bold_moments/lent", deps=[{"path": "lent", "repo": {"url": "../other"}}])
    dvc_file(tmp_path / "elsewhere", "lab")
    lab, above = dvc_file(tmp_path / "lab", "clips/all"), dvc_file(tmp_path / "lab", "clips")

    def loose(folder):
        here = paper_params.dataset.model_copy(update={"folder": Path(folder)})
        return Paths(tmp_path), paper_params.model_copy(update={"dataset": here})

    assert [line.split(": ")[0] for line in remote_guard.faults(*loose("data/bold_moments"))] == [
        str(imported),
        str(stimuli),
    ]
    found = remote_guard.faults(*loose(tmp_path / "lab/data/clips"))
    assert {line.split(": ")[0] for line in found} == {str(path) for path in (imported, stimuli, lab, above)}
    assert remote_guard.bind(*loose("data/bold_moments")) == [str(imported), str(stimuli)]
    content = yaml.safe_load(imported.read_text())
    assert content["outs"][0]["remote"] == "private" and content["deps"] == [source]
    assert remote_guard.faults(*loose("data/bold_moments")) == []


STAGES = """
stages:
  frames:
    cmd: mkdir -p data/frames && cp data/algonauts2021/clip data/frames/clip
    deps: [data/algonauts2021]
    outs:
      - data/frames:
          remote: ${storage.remote}
"""


def stored(remote):
    """Contents of a remote that is a folder."""
    return sorted(path.read_text() for path in remote.glob("files/md5/*/*") if not path.name.endswith(".dir"))


@pytest.mark.slow
def test_push_and_pull_with_a_public_and_a_private_remote(tmp_path):
    public, private = tmp_path / "public", tmp_path / "private"
    clone = Clone(tmp_path / "clone")
    data = clone.folder / "data" / "algonauts2021"
    data.mkdir()
    (data / "clip").write_text("restricted")
    (clone.folder / "data" / "shared").write_text("shared")
    clone.run("dvc", "add", "--quiet", "data/algonauts2021", "data/shared")
    assert (clone.folder / "data/.gitignore").read_text() == (ROOT / "data/.gitignore").read_text()
    clone.commit("data")
    assert set(clone.run("git", "ls-files", "data").split()) == {
        "data/.gitignore", "data/algonauts2021.dvc", "data/shared.dvc",
    }  # fmt: skip

    # A plain `dvc add` is loose: the guard refuses, also from git's hook
    said = clone.run("cinevox", "guard", "--hook", code=1)
    assert "refused: data/algonauts2021.dvc: `dvc push` would take algonauts2021 to any remote" in said
    clone.run("git", "init", "--quiet", "--bare", str(tmp_path / "server"))
    clone.run("git", "remote", "add", "origin", str(tmp_path / "server"))
    assert "refused: data/algonauts2021.dvc" in clone.run("git", "push", "--quiet", "origin", "main", code=1)

    # Bound, and no remote called private: no push takes it anywhere, whatever remote it names
    clone.run("cinevox", "guard", "--fix")
    shared = clone.folder / "data" / "shared.dvc"
    shared.write_text(shared.read_text().replace("  remote: private\n", ""))
    (clone.folder / "dvc.yaml").write_text(STAGES)
    clone.run("dvc", "repro", "--quiet")
    clone.run("dvc", "remote", "add", "--quiet", "--default", "public", str(public))
    for words in ((), ("--remote", "public"), ("--remote", "public", "--run-cache"), ("data/algonauts2021.dvc",)):
        assert "remote 'private' doesn't exist" in clone.run("dvc", "push", *words, code=1)
    assert stored(public) == []

    # With it: there, and not to the one that was asked for
    clone.run("dvc", "remote", "add", "--local", "private", str(private))
    clone.run("dvc", "push", "--remote", "public", "--run-cache")
    clone.run("dvc", "push")
    assert stored(public) == ["shared"] and stored(private) == ["restricted"]

    # And back, in another clone that knows where the private remote is
    clone.run("cinevox", "guard", "--fix")
    clone.commit("bound")
    assert "None" not in clone.run("git", "push", "--quiet", "origin", "main")
    shutil.rmtree(clone.folder / "data" / "algonauts2021")
    shutil.rmtree(clone.folder / ".dvc" / "cache")
    clone.run("dvc", "pull", "data/algonauts2021.dvc")
    assert (data / "clip").read_text() == "restricted"

    # A new version stays bound; two names for one place are told
    (data / "clip").unlink()
    (data / "clip").write_text("restricted, again")
    clone.run("dvc", "add", "--quiet", "data/algonauts2021")
    assert "remote: private" in (clone.folder / "data/algonauts2021.dvc").read_text()
    clone.run("dvc", "remote", "add", "--quiet", "other", str(private))
    assert "the remotes private and other are one place" in clone.run("cinevox", "guard", code=1)
