"""Code as a dependency: what a stage can load, hashed; compared with the import graph that another program makes."""

import ast
import io
import json
import logging
import re
import shutil
import tokenize
from importlib import metadata

import grimp
import pytest
import yaml

from cinevox.errors import InputError
from cinevox.project import package_versions, params, source_code, stage_instances
from cinevox.project.paths import Paths
from cinevox.project.source_code import SourceCode, parse
from conftest import ROOT, tells
from small_run import load

NETWORKS, REGRESSORS, DATASETS = (
    "cinevox.stimuli.networks.",
    "cinevox.fitting.regressors.",
    "cinevox.measured.datasets.",
)


@pytest.fixture(scope="module")
def code():
    return SourceCode.of(ROOT)


def reached(document, code):
    """(stage, instance) -> its modules and their hashes."""
    found = stage_instances.instances(params.parse(document, "a test"), code)
    return {(each.stage, each.instance): json.loads(each.text(code)) for each in found}


def document_of(file):
    return yaml.safe_load((ROOT / file).read_text())


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Import-linter's graph of the package and, as one more package, of the scripts; a package is imported first."""
    folder = tmp_path_factory.mktemp("graph") / "stage_scripts"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for path in (ROOT / "stages").glob("*.py"):
        text = path.read_text()
        for name in (path.stem for path in (ROOT / "stages").glob("_*.py")):
            text = text.replace(f"\nfrom {name} import", f"\nfrom stage_scripts.{name} import")
            text = text.replace(f"\nimport {name}\n", f"\nimport stage_scripts.{name}\n")
        (folder / path.name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder.parent))
        made = grimp.build_graph("cinevox", "stage_scripts", cache_dir=None)
    edges = {name: set(made.find_modules_directly_imported_by(name)) for name in made.modules}
    for name in edges:
        edges[name] |= {name.rpartition(".")[0]} - {""}
    stages = "stage_scripts."
    return {
        name.replace(stages, "stages."): {target.replace(stages, "stages.") for target in targets} - {"stage_scripts"}
        for name, targets in edges.items()
        if name != "stage_scripts"
    }


def loaded(graph, start):
    found, waiting = set(), list(start)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += graph[name]
    return found


def plugins(stage, instance, document):
    """Names of the plug-ins that an instance asks for, from the parameters' text: a row's name says what it is of."""
    joint, options = document["experiments"]["joint"], document["regressors"]
    rows = document["experiments"]["voxelwise"] | joint
    data = {DATASETS + document["dataset"]["name"]}
    row = {"submission": document["submission"]["rows"].get(instance)}.get(stage, instance)
    _, network, _, last = row.split("-") if row.count("-") == 3 else 4 * [""]
    own = {last, *options[last].get("candidates", {})} if row in rows else set()
    regressors = {REGRESSORS + name for name in own}
    entries = [document["spaces"][space.partition(".")[0]] for space in joint[row]["spaces"]] if row in joint else []
    networks = {NETWORKS + name for name in ([entry["network"] for entry in entries] or [network])}
    if stage == "report":
        files = {p: (ROOT / "src" / p.replace(".", "/")).glob("[a-z]*.py") for p in (NETWORKS, REGRESSORS)}
        return data | {prefix + path.stem for prefix, paths in files.items() for path in paths}
    return {
        "simulation": {NETWORKS + document["simulation"]["network"]},
        "validation": data,
        "conversion": data,
        "frames": data,
        "checks": data,
        "features": {NETWORKS + instance},
        "bases": {NETWORKS + instance.partition("-")[0]},
        "transfer": networks,
        "selection": networks,
        "fits": regressors,
        "submission": regressors,
        "encoding": data | networks | regressors,
    }.get(stage, set())


def edited(text):
    """The text with its first number changed; with one more constant where it has none."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NUMBER:
            lines = text.splitlines(keepends=True)
            (row, start), (_, stop) = token.start, token.end
            lines[row - 1] = lines[row - 1][:start] + "7919" + lines[row - 1][stop:]
            return "".join(lines)
    return text + "\nADDED = 7919\n"


def restated(text):
    """The same program: without comments, with other docstrings and another layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0].value = ast.Constant("Something else.")
    return "# A comment.\n" + ast.unparse(tree) + "\n# Another one.\n"


@pytest.mark.parametrize("file", ["params.yaml", "params.paper.yaml"])
def test_an_edit_of_any_module_reruns_what_can_import_it_and_nothing_else(code, graph, file):
    document = document_of(file)
    found = reached(document, code)
    expected = {
        (stage, instance): loaded(graph, {f"stages.{stage}", *plugins(stage, instance, document)})
        for stage, instance in found
    }
    reruns = {name: {key for key, modules in found.items() if name in modules} for name in code.files}
    assert reruns == {name: {key for key, modules in expected.items() if name in modules} for name in code.files}
    assert {name for name, keys in reruns.items() if not keys} >= {"cinevox.cli.listings", "stages.source_code"}


def test_a_model_of_a_library_is_of_the_librarys_code(code):
    document = document_of("params.yaml")
    document["networks"]["mine"] = {**document["networks"]["alexnet"], "model": "timm/resnet18"}
    code_of = {key: set(modules) for key, modules in reached(document, code).items() if key[0] == "features"}
    library = f"{NETWORKS}_libraries.timm"
    assert library in code_of["features", "mine"] and library not in code_of["features", "alexnet"]
    assert f"{NETWORKS}_maps" in code_of["features", "mine"]
    assert f"{NETWORKS}alexnet" not in code_of["features", "mine"]


def test_candidates_are_loaded_by_what_chooses_among_them(code, graph):
    document, row = document_of("params.yaml"), "mini-alexnet-layer-best"
    words = dict(zip(("track", "network", "features", "regressor"), row.split("-"))) | {"reported": None}
    document["experiments"]["voxelwise"][row] = words
    document["submission"]["rows"]["mini"] = row
    found = reached(document, code)
    for key in (("fits", row), ("submission", "mini")):
        assert set(found[key]) == loaded(graph, {f"stages.{key[0]}", *plugins(*key, document)})
        assert {f"{REGRESSORS}{name}" for name in ("best", "lasso", "res", "ridge")} <= set(found[key])
        assert f"{REGRESSORS}omp" not in found[key]


def test_a_changed_number_changes_a_modules_hash_and_another_wording_does_not(code):
    for name, path in code.files.items():
        text, package = path.read_text(), name.rpartition(".")[0]
        before = parse(text.encode(), package, path)
        assert parse(edited(text).encode(), package, path).digest != before.digest, name
        assert parse(restated(text).encode(), package, path) == before, name


@pytest.fixture(scope="module")
def everything(code):
    """The memo of all modules: what a run before would have left."""
    code.reached(code.files)
    return code.used


def copied(tmp_path, memo=None):
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    source_code.remember(Paths(tmp_path).memo / "source_code.json", memo or {})
    return Paths(tmp_path)


@pytest.mark.parametrize(
    ("file", "reruns", "spared"),
    [
        ("src/cinevox/stimuli/networks/efficientnet_lite0.py",
         {"features/efficientnet_lite0", "bases/efficientnet_lite0-frozen"}, {"features/efficientnet_lite1"}),
        ("src/cinevox/fitting/regressors/_solvers/ard.py", {"fits/mini-alexnet-layer-sparse_linear"},
         {"fits/mini-efficientnet_lite0-layer-ridge", "validation",
          "transfer/mini-efficientnet_lite0-frozen-two_lstm"}),
        ("src/cinevox/validation/expectations/clips.json", {"validation", "checks"}, {"frames/2", "report"}),
        ("src/cinevox/outlets/report/page.html", {"report"}, {"gate", "tracking"}),
        ("src/cinevox/statistics/metrics.py", {"ceiling/mini", "gate"}, {"features/alexnet", "reduction/alexnet"}),
        ("stages/_cli.py", {"simulation/insilico", "gate"}, set()),
        ("stages/fits.py", {"fits/mini-efficientnet_lite0-layer-ridge"},
         {"scores/mini-efficientnet_lite0-layer-ridge"}),
    ],
)  # fmt: skip
def test_the_files_of_those_that_can_load_it_change(tmp_path, everything, file, reruns, spared):
    """All the way: a copy of the tree, an edit, the files that the stages depend on."""
    paths = copied(tmp_path, everything)
    before = stage_instances.digests(paths)
    path = tmp_path / file
    path.write_text(edited(path.read_text()) if path.suffix == ".py" else path.read_text() + " ")
    after = stage_instances.digests(paths)
    changed = {
        name.removeprefix("data/source_code/").removesuffix(".json") for name in before if before[name] != after[name]
    }
    assert reruns <= changed and not spared & changed


def test_files_that_dvc_does_not_track_are_asked_for_by_their_content(tmp_path):
    document = document_of("params.yaml")
    array, folder, weights = tmp_path / "mine.npz", tmp_path / "clip", tmp_path / "alexnet.pth"
    folder.mkdir()
    entry = {"file": None, "sha256": None, "n_frames": 2, "seed": 0}
    document["networks"] |= {
        "mine": entry | {"weights": "none", "model": "array", "file": str(array)},
        "clip": entry | {"weights": "file", "model": "transformers/X/a/b@c", "file": str(folder)},
        "same": entry | {"weights": "file", "model": "transformers/X/a/b@c", "file": f"{folder}/model.safetensors"},
        "efficientnet_lite0": entry | {"weights": "file", "file": str(weights)},
        "alexnet": entry | {"weights": "file", "file": str(weights), "sha256": "01234567"},
    }
    found = []
    for text in ("one", "two"):
        array.write_text(text)
        weights.write_text(text)
        (folder / "config.json").write_text(text)
        settings = params.parse(document, "p")
        code = SourceCode({}, {})
        found.append({(i.stage, i.instance): i.text(code) for i in stage_instances.instances(settings, code)})
    before, after = found
    changed = {("features", name) for name in ("mine", "clip", "same", "efficientnet_lite0")}
    assert {key for key in before if before[key] != after[key]} == changed | {("bases", "efficientnet_lite0-frozen")}


def test_what_editors_and_runs_leave_behind_is_no_code(tmp_path, everything):
    paths = copied(tmp_path, everything)
    before = stage_instances.digests(paths)
    for name in (".page.html.swp", "page.html~", "#page.html#", "page.html.orig", "__pycache__/x.nbi", ".DS_Store"):
        file = tmp_path / "src/cinevox/outlets/report" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    (tmp_path / "stages/notebook.py").write_text("import torch\n")
    assert stage_instances.digests(paths) == before


def test_every_way_to_import_is_followed(tmp_path):
    package = tmp_path / "src/cinevox"
    texts = {
        "__init__.py": "", "a/__init__.py": "", "b/__init__.py": "from cinevox.b import face\n", "b/face.py": "",
        "a/one.py": "from . import two\nfrom .three import something\nfrom ..c import x\n",
        "a/two.py": "",
        "a/three.py": "def f():\n    import cinevox.b.deep as deep\n    from cinevox import d, absent\n",
        "b/deep.py": "import numpy\nfrom cinevox.e import *\n", "c.py": "", "d.py": "", "e.py": "", "unused.py": "",
    }  # fmt: skip
    for name, text in texts.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/step.py").write_text("from _help import x\nfrom cinevox.a import one\n")
    (tmp_path / "stages/_help.py").write_text("")
    found = SourceCode.of(tmp_path).reached(["stages.step"])
    package = ("", ".a", ".a.one", ".a.two", ".a.three", ".b", ".b.face", ".b.deep", ".c", ".d", ".e")
    assert set(found) == {"stages.step", "stages._help", *("cinevox" + name for name in package)}


def written(root, texts):
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_links_stars_and_names_that_are_there_twice_are_taken_as_python_takes_them(tmp_path):
    root = tmp_path / "repository"
    texts = {
        "src/cinevox/__init__.py": "", "src/cinevox/both.py": "x = 1\n", "src/cinevox/both/__init__.py": "",
        "src/cinevox/a/__init__.py": "", "src/cinevox/a/no_package/b.py": "", "elsewhere/__init__.py": "",
        "elsewhere/c.py": "", "src/cinevox/star/__init__.py": "__all__ = ['d']\n", "src/cinevox/star/d.py": "",
        "stages/step.py": "import cinevox.both, cinevox.a.no_package.b, cinevox.linked.c\nfrom cinevox.star import *\n",
    }  # fmt: skip
    written(root, texts)
    (root / "src/cinevox/linked").symlink_to(root / "elsewhere")
    (root / "src/cinevox/circle").symlink_to(root / "src/cinevox")
    code = SourceCode.of(root)
    names = ("", ".a", ".a.no_package.b", ".both", ".linked", ".linked.c", ".star", ".star.d")
    assert set(code.reached(["stages.step"])) == {"stages.step", *("cinevox" + name for name in names)}
    assert code.files["cinevox.both"].name == "__init__.py"
    assert not any("circle" in name for name in code.files)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    written(tmp_path, {"src/cinevox/__init__.py": "", "stages/step.py": "import cinevox.gone, cinevox.deep\n"})
    gone = tmp_path / "src/cinevox/gone.py"
    gone.symlink_to(tmp_path / "nowhere.py")
    with pytest.raises(InputError) as told:
        SourceCode.of(tmp_path).reached(["stages.step"])
    assert tells(str(told.value), "gone.py", "No such file", "mend")
    gone.unlink()
    (tmp_path / "src/cinevox/deep.py").write_text("x = " + "+".join(["1"] * 9000))
    with pytest.raises(InputError, match=r"deep\.py: no Python"):
        SourceCode.of(tmp_path).reached(["stages.step"])


@pytest.mark.parametrize("modules", [[], {"key": 1}, {"key": ["d", [["one"]]]}, {"key": ["d", [1]]}])
def test_a_memo_that_is_none_is_left_aside(tmp_path, modules):
    memo = tmp_path / "memo.json"
    memo.write_text(json.dumps({"by": source_code._own_version(), "modules": modules}))
    assert source_code.remembered(memo) == {}


PROGRAM = """
async def f(a, /, b: int = 1_000, *args, c=None, **kw) -> str:
    'gone'
    x = {**kw, 'é\\U0001fae8': b"\\xff", None: ..., 1e22: 1j}
    async with a as (p, *q):
        yield f"{x!r:>{b}} {a=} and" ' more', lambda: (yield)
    match x:
        case {'k': [1, *_], **rest} if (n := len(rest)) > 0.1: return
    try: pass
    except* (ValueError,) as e: raise e from None
    del x[1:2, ...]
"""


def test_modules_are_loaded_by_name_in_one_place_only(code):
    """What follows imports can't see a name that is put together: `plugins.load` alone does that."""
    words = {"import_module", "__import__", "spec_from_file_location", "run_module", "run_path", "find_spec"}
    found = {name for name, path in code.files.items() if words & set(re.findall(r"\w+", path.read_text()))}
    assert found == {"cinevox.project.plugins"}


def test_a_hash_is_the_same_in_every_version_of_python():
    """Written down once; CI runs this on the oldest and on the newest version."""
    assert parse(PROGRAM.encode(), "p", ROOT).digest == "0ac42936929ba1da"


def test_what_parses_alike_and_differs_is_told_apart():
    programs = ("x = 1", "x = 1.0", "x = True", "x = '1'", "x = b'1'", "x = None", "x = ...", "y = 1", "x: int = 1",
                "x = [1]", "x = [[1]]", "x = [1, 1]", "x = (1,)", "def f(): return", "def f(): return None",
                "{1: 2}", "{**x}", "f(*a)", "f(a)", "f(a=a)", "lambda a: a", "lambda *a: a", "lambda a=a: a",
                "import a", "from a import b", "from . import b", "from .. import b", "f'{x}'", "f'{x!r}'", "f'{x:1}'",
                "a if b else c", "not a", "-a", "a < b < c", "a < (b < c)", "global a", "nonlocal a")  # fmt: skip
    assert len({parse(text.encode(), "p.q.r", ROOT).digest for text in programs}) == len(programs)


def test_text_that_is_no_python_is_told_with_its_line(tmp_path, everything):
    paths = copied(tmp_path, everything)
    (tmp_path / "src/cinevox/errors.py").write_text("x = 1\ny = (\n")
    with pytest.raises(InputError, match=r"errors\.py, line 2: "):
        stage_instances.digests(paths)


def test_only_what_was_edited_is_parsed_again(tmp_path, monkeypatch):
    """The memo: given back by the next run, worthless after a change of the module that made it."""
    paths, memo, parsed = copied(tmp_path), tmp_path / "memo.json", []
    monkeypatch.setattr(source_code, "parse", lambda *given: (parsed.append(given[2].stem), parse(*given))[1])
    first = SourceCode.of(paths.root, source_code.remembered(memo))
    found = first.reached(["stages.gate"])
    source_code.remember(memo, first.used)
    assert len(parsed) == len(found) > 40
    parsed.clear()
    again = SourceCode.of(paths.root, source_code.remembered(memo))
    assert again.reached(["stages.gate"]) == found and not parsed
    (tmp_path / "src/cinevox/errors.py").write_text("X = 1\n")
    edited = SourceCode.of(paths.root, source_code.remembered(memo)).reached(["stages.gate"])
    assert parsed == ["errors"] and {name for name in found if found[name] != edited[name]} == {"cinevox.errors"}
    monkeypatch.setattr(source_code, "_own_version", lambda: "another")
    assert source_code.remembered(memo) == {}
    memo.write_text("{")
    assert source_code.remembered(memo) == {}


def test_the_stage_writes_what_is_computed_and_says_what_other_versions_made(tmp_path, everything, monkeypatch, caplog):
    paths = copied(tmp_path, everything)
    rows = list(params.load(paths.params).experiments.rows)[:3]
    for row in rows:
        package_versions.record(paths.selection(row), f"selection@{row}", [])
    stage, log = load("source_code"), logging.getLogger("source_code")
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    stage.main(paths, log)
    assert not caplog.records
    assert json.loads(paths.versions.read_bytes())["numpy"] == metadata.version("numpy")
    written = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "data/source_code").rglob("*.json")}
    assert written == set(stage_instances.digests(paths))
    was, installed = metadata.version("numpy"), metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == "numpy" else installed(name))
    package_versions.record(paths.selection(rows[2]), f"selection@{rows[2]}", [])
    stage.main(paths, log)
    [said] = [record.getMessage() for record in caplog.records]
    assert f"numpy {was} (now 99.0)" in said and rows[0] in said and rows[1] in said and rows[2] not in said
    assert "dvc repro --force" in said and "\n" not in said


def test_versions_of_all_steps_stay_with_the_result(tmp_path, monkeypatch):
    package_versions.record(tmp_path / "frames", "frames@2", [])
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    package_versions.record(tmp_path / "features", "features@net", [tmp_path / "frames", tmp_path / "absent"])
    made = package_versions.read(tmp_path / "features")
    assert set(made) == {"frames@2", "features@net"} and made["features@net"]["torch"] == "1.0"
    assert made["frames@2"] == package_versions.read(tmp_path / "frames")["frames@2"]
    assert "numpy 1.0" in package_versions.in_words(made)
    assert package_versions.others(made, made["features@net"]) and not package_versions.others({}, made["frames@2"])


@pytest.mark.parametrize("content", ["[]", "null", '{"fits@row": 3}', '{"fits@row": {"numpy": ["2"]}}'])
def test_broken_versions_are_told_with_their_file(tmp_path, content):
    (tmp_path / package_versions.FILE).write_text(content)
    with pytest.raises(InputError) as told:
        package_versions.made_by_others({"row": tmp_path}, {})
    assert tells(str(told.value), package_versions.FILE, "expected", "delete it")


def test_a_package_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(package_versions, "PACKAGES", ("no-such-package",))
    with pytest.raises(InputError) as told:
        package_versions.installed()
    assert tells(str(told.value), "no-such-package", "not installed", "make install")
