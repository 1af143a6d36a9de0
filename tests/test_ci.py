"""CI: the workflows are valid and safe, their scripts run here as they do there, the hooks pass."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import tomllib
from types import SimpleNamespace

import pytest
import yaml

import conftest
import finished_run
import nearest
from cinevox.outlets import gate
from cinevox.project import params
from cinevox.project.paths import Paths
from cinevox.scoring import outcomes, row_metrics
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTION = re.compile(r"uses: (\S+?)@([0-9a-f]{40}) # v\d+\.\d+\.\d+$")
ROW = finished_run.ROWS[0]


def answer(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def zizmor(path):
    return answer("zizmor", "--offline", "--no-config", "--persona=pedantic", "--format=json", str(path))


def schema(name, path):
    transform = ["--data-transform", "gitlab-ci"] if name == "gitlab-ci" else []
    return answer("check-jsonschema", "--builtin-schema", f"vendor.{name}", *transform, str(path))


def test_the_security_linter_finds_nothing():
    done = zizmor(ROOT / ".github")
    assert (done.returncode, json.loads(done.stdout)) == (0, []), done.stderr


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *[("github-workflows", path) for path in WORKFLOWS],
        ("dependabot", ROOT / ".github/dependabot.yml"),
        ("gitlab-ci", ROOT / ".gitlab-ci.yml"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_files_have_their_schema(name, path):
    done = schema(name, path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("was", "wrong", "finding"),
    [
        ('run: .ci/scores "$BASE"', "run: .ci/scores ${{ github.event.pull_request.title }}", "template-injection"),
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("  pull_request:", "  pull_request_target:", "dangerous-triggers"),
        ("persist-credentials: false", "submodules: true", "artipacked"),
        ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6", "unpinned-uses"),
    ],
)
def test_the_security_linter_notices(tmp_path, was, wrong, finding):
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert was in text
    (tmp_path / "ci.yml").write_text(text.replace(was, wrong))
    assert finding in {found["ident"] for found in json.loads(zizmor(tmp_path / "ci.yml").stdout)}


@pytest.mark.parametrize(
    ("name", "path", "was", "wrong"),
    [
        ("github-workflows", ".github/workflows/ci.yml", "runs-on:", "run-on:"),
        ("github-workflows", ".github/workflows/nightly.yml", "timeout-minutes: 120", "timeout-minutes: soon"),
        ("gitlab-ci", ".gitlab-ci.yml", "when: always", "when: sometimes"),
    ],
)
def test_the_schema_notices(tmp_path, name, path, was, wrong):
    text = (ROOT / path).read_text()
    assert was in text
    (tmp_path / "broken.yml").write_text(text.replace(was, wrong))
    assert schema(name, tmp_path / "broken.yml").returncode == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_one_action_has_one_commit(path):
    everywhere = [line for other in WORKFLOWS for line in other.read_text().splitlines() if "uses:" in line]
    pins = {ACTION.search(line).groups() for line in everywhere}
    assert len(pins) == len(dict(pins))
    assert "uses:" in path.read_text()


def test_every_job_runs_a_script_that_is_there_and_gitlab_runs_the_same():
    scripts = {path.name for path in (ROOT / ".ci").iterdir()}
    assert all(os.access(ROOT / ".ci" / name, os.X_OK) for name in scripts)
    github, gitlab = (
        set(re.findall(r"(?:run:|-) \.ci/(\w+)", "".join(path.read_text() for path in paths)))
        for paths in (WORKFLOWS, [ROOT / ".gitlab-ci.yml"])
    )
    assert ".ci/browser" in (ROOT / ".ci/run").read_text()
    assert github == scripts - {"browser"}
    assert gitlab == github - {"comment"}


def test_only_the_job_that_runs_nothing_of_the_change_may_write():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    writers = {name for name, job in jobs.items() if "write" in job["permissions"].values()}
    assert writers == {"comment"}
    assert "head.repo.full_name == github.repository" in jobs["comment"]["if"]
    assert jobs["comment"]["steps"][0]["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


def test_tests_run_on_every_python_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [name.rpartition(" ")[2] for name in project["classifiers"]]
    assert project["requires-python"] == f">={named[0]}"
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == named
    assert {step.get("with", {}).get("python-version") for step in job["steps"]} == {None, "${{ matrix.python }}"}
    job = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())["test"]
    assert job["parallel"]["matrix"] == [{"PYTHON_VERSION": named}] and job["image"] == "python:$PYTHON_VERSION"
    assert f"--python-version {named[0]} " in (ROOT / "Makefile").read_text()  # the lock is of all of them


def test_distance_is_the_number_of_imports_between():
    importers = {"a": {"c"}, "b": {"a", "d"}, "c": {"a", "b"}, "d": {"e"}, "f": {"e"}}
    assert nearest.distances(importers, "c") == {"c": 0, "a": 1, "b": 1, "d": 2, "e": 3}


@pytest.mark.parametrize(
    ("edited", "first"),
    [
        ("tests/test_git.py", ["test_git"]),
        ("src/cinevox/files/archives.py", ["test_archives"]),
        ("src/cinevox/fitting/regressors/ridge.py", ["test_regressors", "test_solvers_ridge"]),  # loaded by its name
        ("src/cinevox/outlets/report/page.css", ["test_nested_outlets", "test_plain_outlets", "test_report"]),
        ("Makefile", ["test_ci"]),
        ("x" * 30, []),
    ],
)
def test_the_nearest_tests_come_first(edited, first):
    assert nearest.nearest([edited])[: len(first) or None] == [f"tests/{name}.py" for name in first]


def test_every_module_and_stage_is_reached_by_a_test():
    files = [path.relative_to(ROOT) for folder in ("src", "stages") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    assert [path for path in files if not nearest.nearest([path])] == []


def test_tests_that_begin_too_late_are_left_out(monkeypatch):
    item = SimpleNamespace(config=SimpleNamespace(getoption={"--within": 60.0}.get))
    monkeypatch.setattr(conftest, "BEGAN", time.time() - 50)
    conftest.pytest_runtest_setup(item)
    monkeypatch.setattr(conftest, "BEGAN", time.time() - 61)
    with pytest.raises(pytest.skip.Exception, match="left out, 60 seconds were over"):
        conftest.pytest_runtest_setup(item)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git and DVC repository with a finished run, in which one stage makes one row's scores; and a commit of it."""
    settings, paths = finished_run.make(tmp_path), Paths(tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text("repro:\n\tdvc repro --quiet\n")
    (tmp_path / ".gitignore").write_text("/tmp/\n/data/\n")
    metrics, selection = f"metrics/{ROW}.json", f"data/selection/{ROW}"
    stage = {
        "cmd": f"mkdir -p metrics && cp made/metrics.json {metrics} && cp made/selection.json {selection}",
        "deps": ["made"],
        "params": ["reduction", "scores"],
        "metrics": [{metrics: {"cache": False}}],
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"scores": stage}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    scored(paths, 0.5)
    commands(
        "git init -q -b main", "git config user.name a", "git config user.email a@b", "dvc init -q", "dvc repro -q"
    )
    gate.write_baseline(paths.baseline, gate.read_current(paths, settings))
    commands("git add -A", "git commit -qm base")
    return paths


def commands(*lines):
    for line in lines:
        done = answer(*shlex.split(line))
        assert done.returncode == 0, done.stderr


def scored(paths, score):
    """Give the stage another score of the row to make."""
    found = outcomes.read(paths.selection(ROW), params.load(paths.params).experiments.rows[ROW])
    best = found.best.model_copy(update={"score": score})
    found = found.model_copy(update={"scores": found.scores | {found.split: best}})
    outcomes.write(paths.root / "made", found)
    row_metrics.write(paths.root / "made/metrics.json", found)


@pytest.mark.slow
def test_scores_tells_what_moved_and_ends_as_the_gate_does(repository, monkeypatch):
    told = repository.root / "tmp/ci/comment.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(repository.root / "tmp/summary.md"))
    done = answer(".ci/scores", "HEAD")
    assert done.returncode == 0, done.stdout + done.stderr
    assert told.read_text().startswith("<!-- cinevox scores -->\n### Scores against `HEAD`\n\n**Passed against HEAD: ")
    assert told.read_text().count("None.") == 2

    scored(repository, 0.3)
    document = yaml.safe_load(repository.params.read_text())
    was, document["reduction"]["n_components"] = document["reduction"]["n_components"], 3
    repository.params.write_text(yaml.safe_dump(document, sort_keys=False))
    assert answer(".ci/scores", "HEAD").returncode == 1
    said = told.read_text()
    assert "**Failed against HEAD: 1 regressed" in said
    moved = said.partition("#### Rows that moved")[2]
    assert re.search(rf"\| metrics/{ROW}.json +\| test.score +\| 0.5 +\| 0.3 +\| -0.2 +\|", moved)
    assert re.search(rf"\| params.yaml +\| reduction.n_components +\| {was} +\| 3 +\|", moved)
    assert "test.low" not in moved and "validation.score" not in moved
    assert (repository.root / "tmp/summary.md").read_text().endswith(said)

    assert answer(".ci/scores", "nowhere").returncode == 2
    assert "**Not compared**" in told.read_text() and "nowhere" in told.read_text()

    (repository.root / "made/metrics.json").unlink()
    assert answer(".ci/scores", "HEAD").returncode == 3 and not told.exists()


@pytest.mark.parametrize(("failing", "ends_well"), [("sync", True), ("scores", False)])
def test_a_run_whose_record_has_to_wait_ends_well_and_shows_its_scores(tmp_path, failing, ends_well):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml", ".venv/bin/dvc", ".venv/bin/cinevox", ".venv/.installed"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'#!/bin/bash\necho "did $1"\ntest "$1" != {failing}\n')
        (tmp_path / name).chmod(0o755)
    done = answer("make", "repro", cwd=tmp_path)
    assert (done.returncode == 0) == ends_well
    assert re.findall("^did (.*)", done.stdout, re.M) == ["ready", "repro", "sync", "scores"]
    assert (answer("make", "sync", cwd=tmp_path).returncode == 0) != ends_well


def test_parameters_are_replaced_and_edits_that_are_in_no_commit_are_kept(tmp_path):
    """Also where git knows nothing of the folder: then there would be no way back."""
    for name in ("Makefile", "params.yaml", "params.paper.yaml", "params.winners.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    now, default = tmp_path / "params.yaml", (ROOT / "params.yaml").read_text()

    def kept():
        return [path.read_text() for path in sorted(tmp_path.glob("params.before-*.yaml"))]

    assert answer("make", "paper", cwd=tmp_path).returncode == 0
    assert now.read_text() == (ROOT / "params.paper.yaml").read_text() and kept() == [default]
    done = answer("make", "winners", cwd=tmp_path)  # nothing is lost: the file is that of the paper
    assert now.read_text() == (ROOT / "params.winners.yaml").read_text() and kept() == [default]
    assert "kept in" not in done.stdout
    [copy] = tmp_path.glob("params.before-*.yaml")
    copy.unlink()
    now.write_text(default)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "params.yaml"), (*identity, "commit", "-qm", "default")):
        assert answer("git", *words, cwd=tmp_path).returncode == 0
    assert answer("make", "paper", cwd=tmp_path).returncode == 0 and kept() == []
    now.write_text("# mine\n" + default)
    answer("git", "add", "params.yaml", cwd=tmp_path)
    done = answer("make", "winners", cwd=tmp_path)
    assert kept() == ["# mine\n" + default]
    assert "params.yaml is in no commit as it was; kept in params.before-" in done.stdout


FAKE = """#!/bin/bash
# gh, as far as .ci/comment knows it: lists the comments, records what it is told to write.
if [[ "$*" == *"--jq"* ]]; then cat comments.jsonl; else printf '%s\\n' "$@" >> calls; fi
"""


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        ([], ["POST", "repos/owner/name/issues/7/comments"]),
        ([[3, "something else"]], ["POST", "repos/owner/name/issues/7/comments"]),
        ([[3, "something else"], [5, "<!-- cinevox scores -->\nold"]], ["PATCH", "repos/owner/name/issues/comments/5"]),
    ],
)
def test_the_comment_is_brought_up_to_date_or_made(tmp_path, comments, expected):
    (tmp_path / "gh").write_text(FAKE)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "comments.jsonl").write_text("".join(json.dumps(comment) + "\n" for comment in comments))
    (tmp_path / "comment.md").write_text("<!-- cinevox scores -->\n" + 'new `$(touch harm)` "\n' + "x" * 70000)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "owner/name"}
    done = answer(str(ROOT / ".ci/comment"), "7", "comment.md", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "calls").read_text()
    assert said.splitlines()[2:5] == ["--method", *expected]
    assert 'body=<!-- cinevox scores -->\nnew `$(touch harm)` "\n' in said
    assert said.endswith("the whole is in the summary of the job.\n") and len(said) < 65536
    assert not (tmp_path / "harm").exists()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="pre-commit works on what git tracks")
def test_the_hooks_pass_on_every_file():
    assert answer("pre-commit", "validate-config", ".pre-commit-config.yaml", cwd=ROOT).returncode == 0
    environment = os.environ | {"SKIP": "agreement,workflows,workflow-schema,gitlab-schema"}  # tests of their own
    done = answer("pre-commit", "run", "--all-files", cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == 5


def test_hooks_need_no_network():
    (source,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert source["repo"] == "local"
    assert {hook["language"] for hook in source["hooks"]} == {"system"}
    assert all(shutil.which(hook["entry"].split()[0]) for hook in source["hooks"])


def test_a_large_file_is_refused(tmp_path):
    (tmp_path / "large.bin").write_bytes(bytes(2 << 20))
    (tmp_path / "small.bin").write_bytes(bytes(1 << 10))
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (entry,) = (hook["entry"].split() for hook in hooks if hook["id"] == "large-files")
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        assert answer(*command, cwd=tmp_path).returncode == 0
    done = answer(*entry, "large.bin", "small.bin", cwd=tmp_path)
    assert done.returncode == 1
    assert "large.bin" in done.stdout and "small.bin" not in done.stdout
