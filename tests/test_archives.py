"""Archives as downloaded, and archives that somebody made to do harm."""

import os
import stat
import struct
import zipfile

import pytest

import layout
from cinevox import cli
from cinevox.errors import FileError
from cinevox.files import archives
from cinevox.measured.datasets import open_dataset

LIMIT = 10**9


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "secret.txt").write_text("mine")
    return tmp_path / "study"


def write(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def link(name, mode=stat.S_IFLNK | 0o777):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def fails(folder, limit=LIMIT):
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    with pytest.raises(FileError) as caught:
        archives.unpack(folder, limit)
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before
    assert all(path.is_file() for path in folder.iterdir())  # nothing half unpacked remains
    return str(caught.value)


def test_the_challenges_archives(folder):
    """What is unpacked is what was packed, and the reader takes it."""
    made = layout.make(folder.parent / "made", videos=False)
    for name, top in (("AlgonautsVideos268_All_30fpsmax", layout.CLIPS), ("participants_data", layout.RESPONSES)):
        files = [path for path in sorted((made / top).rglob("*")) if path.is_file()]
        members = [(path.relative_to(made).as_posix(), path.read_bytes()) for path in files]
        write(
            folder / f"{name}.zip", [(f"{top}/", b""), *members, ("__MACOSX/._x", b"junk"), (f"{top}/.DS_Store", b"x")]
        )
    with pytest.raises(FileError) as caught:
        open_dataset(layout.wanted(folder))
    assert f"`cinevox unpack {folder}` unpacks AlgonautsVideos268_All_30fpsmax.zip, participants_data.zip" in str(
        caught.value
    )
    first, second = archives.unpack(folder, LIMIT)
    assert first.made == (folder / layout.CLIPS,) and first.n_files == 17
    assert second.made == (folder / layout.RESPONSES,) and second.n_files == 6
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [layout.CLIPS, layout.RESPONSES, "AlgonautsVideos268_All_30fpsmax.zip", "participants_data.zip"]
    )
    for path in (made / layout.RESPONSES).rglob("*.pkl"):
        assert (folder / path.relative_to(made)).read_bytes() == path.read_bytes()
    assert not list(folder.rglob(".DS_Store"))
    dataset = open_dataset(layout.wanted(folder))
    assert dataset.subjects == layout.SUBJECTS


def test_an_archive_without_a_folder_gets_one(folder):
    write(folder / "videos.zip", [("0001_a.mp4", b"1"), ("0002_b.mp4", b"2")])
    write(folder / "participants_data_v2021.ZIP", [("mini_track/a", b"1"), ("full_track/b", b"2")])
    archives.unpack(folder, LIMIT)
    assert (folder / "videos" / "0002_b.mp4").read_bytes() == b"2"
    assert (folder / "participants_data_v2021" / "full_track" / "b").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../secret.txt", "'../secret.txt' has a name that leads out of the folder"),
        ("a/../../secret.txt", "leads out of the folder"),
        ("/tmp/cinevox-was-here", "leads out of the folder"),
        ("C:/secret.txt", "leads out of the folder"),
        ("..\\secret.txt", "leads out of the folder"),
        ("a//b", "leads out of the folder"),
        ("a/./b", "leads out of the folder"),
        ("a\nb", "that no file should have"),
        (link("a"), "is a link or a device"),
        (link("a", stat.S_IFIFO | 0o666), "is a link or a device"),
        (link("a", stat.S_IFCHR | 0o666), "is a link or a device"),
    ],
)
def test_members_that_are_refused(folder, name, said):
    write(folder / "data.zip", [("whole/a.txt", b"1"), (name, b"../secret.txt"), ("whole/b.txt", b"2")])
    message = fails(folder)
    assert message.startswith(f"{folder}/data.zip: member ") and said in message and "\n" not in message
    assert message.endswith("Download the archive again from where it was published; nothing of it was unpacked.")


def test_a_link_cannot_be_written_through(folder):
    write(folder / "data.zip", [(link("out"), str(folder.parent)), ("out/secret.txt", b"theirs")])
    assert "'out' is a link or a device" in fails(folder)


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "A"), ("a", "a/b"), ("a/b/c", "a/b"), ("a/", "a"), ("\u00e9", "e\u0301")], ids="-".join
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_stand_in_each_others_way(folder, names):
    write(folder / "data.zip", [(name, b"") for name in names])
    assert "is there twice, or as a file and a folder" in fails(folder)


def test_an_encrypted_member(folder):
    path = write(folder / "data.zip", [("a", b"1234")])
    raw = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(magic) + offset] |= 1
    path.write_bytes(raw)
    assert "member 'a' is encrypted; unpack it yourself with its password" in fails(folder)


@pytest.mark.parametrize("share", (0.0, 0.3, 0.9, 0.999))
def test_a_download_that_was_cut_off(folder, share):
    path = write(folder / "data.zip", [(f"a/{i}", os.urandom(500)) for i in range(20)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "data.zip: not a whole zip archive" in fails(folder)


def test_damage_inside_is_found_by_the_checksum(folder):
    path = write(folder / "data.zip", [("a/1", b"first"), ("a/2", os.urandom(5000))])
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(raw)
    write(folder / "good.zip", [("b/1", b"1")])
    assert "member 'a/2' cannot be unpacked" in fails(folder)  # good.zip is not unpacked either


def test_a_bomb_by_what_it_announces(folder):
    write(folder / "data.zip", [("a/zeros", bytes(10**6)), ("a/b", b"1")])
    message = fails(folder, 10**5)
    assert "unpacks to 1,000,001 bytes, more than 100,000" in message and "'a/zeros', to 1,000,000" in message
    assert "--max-gigabytes" in message


@pytest.mark.parametrize("announced", (10, 2 * 10**6))
def test_a_bomb_that_announces_something_else(folder, announced):
    path = write(folder / "data.zip", [("a/zeros", bytes(10**6))])
    raw = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", raw, raw.index(magic) + offset, announced)
    path.write_bytes(raw)
    message = fails(folder)
    assert "data.zip: member 'a/zeros' " in message and ("cannot be unpacked" in message or "unpacks to" in message)


def test_members_that_overlap(folder):
    """Every entry of the directory points to the same data."""
    path = write(folder / "data.zip", [("a", os.urandom(10**4))])
    raw = path.read_bytes()
    start, end = raw.index(b"PK\x01\x02"), raw.index(b"PK\x05\x06")
    entries = [raw[start:end].replace(b"a", letter) for letter in (b"a", b"b", b"c")]
    tail = bytearray(raw[end:])
    struct.pack_into("<HHI", tail, 8, 3, 3, sum(map(len, entries)))
    path.write_bytes(raw[:start] + b"".join(entries) + bytes(tail))
    assert "its members overlap (30,0" in fails(folder)


def test_no_room_on_the_disk(folder, monkeypatch):
    write(folder / "data.zip", [("a", bytes(1000))])
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: Free(999))
    assert "needs 1,000 bytes, and 999 are free" in fails(folder)


class Free:
    def __init__(self, free):
        self.free = free


def test_every_archive_is_judged_before_one_is_unpacked(folder):
    write(folder / "a.zip", [("a/1", b"1")])
    write(folder / "b.zip", [("../x", b"1")])
    (folder / "c.zip").write_bytes(b"<html>")
    first, second = fails(folder).split("\n\n")
    assert first.startswith(f"{folder}/b.zip: member '../x'") and second.startswith(f"{folder}/c.zip: not a whole zip")


def test_what_is_there_is_never_replaced(folder):
    write(folder / "a.zip", [("same/1", b"1")])
    write(folder / "b.zip", [("same/2", b"2")])
    assert fails(folder).count("which another archive becomes too") == 2
    (folder / "b.zip").unlink()
    archives.unpack(folder, LIMIT)
    (folder / "same" / "1").write_bytes(b"edited")
    with pytest.raises(FileError, match="would become .*/same, which is there already"):
        archives.unpack(folder, LIMIT)
    assert (folder / "same" / "1").read_bytes() == b"edited"


def test_what_a_killed_run_left_is_removed(folder):
    (folder / archives.PARTIAL / "0").mkdir(parents=True)
    (folder / archives.PARTIAL / "0" / "half").write_bytes(b"1")
    write(folder / "a.zip", [("a/1", b"1")])
    archives.unpack(folder, LIMIT)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "a.zip"]


def test_the_hidden_folder_is_no_way_out(folder):
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (folder / archives.PARTIAL).symlink_to(outside)
    write(folder / "a.zip", [("a/1", b"1")])
    archives.unpack(folder, LIMIT)
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert sorted(path.name for path in folder.iterdir()) == ["a", "a.zip"]


def test_an_interrupt_leaves_nothing(folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    write(folder / "a.zip", [("a/1", b"1")])
    monkeypatch.setattr(archives.zipfile.ZipFile, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archives.unpack(folder, LIMIT)
    assert [path.name for path in folder.iterdir()] == ["a.zip"]


def test_the_command(folder, capsys):
    write(folder / "data.zip", [("a/1", b"12")])
    assert cli.main(["unpack", str(folder)]) == 0
    assert f"{folder}/data.zip: 1 files, 2 bytes, in {folder}/a" in capsys.readouterr().out
    assert cli.main(["unpack", str(folder)]) == 2
    assert "cinevox unpack: " in capsys.readouterr().err
    assert cli.main(["unpack", str(folder / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (folder / "data.zip").unlink()
    assert cli.main(["unpack", str(folder)]) == 2
    assert "no .zip in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        ".git/config", "study/.git/config", "study/.GIT/hooks/post-checkout", ".git", "a/.Dvc/config", "a/.dvcignore",
        "a/.git./config", "a/.git /config", "a/git~1/config", "a/DVCIGN~1", "a/.git::$INDEX_ALLOCATION/config",
        "a/.g\u200cit/config",
    ],
)  # fmt: skip
def test_what_git_or_dvc_would_obey_is_not_unpacked(folder, name):
    """A folder .git brings a configuration, and the next `git status` in it runs the commands in that."""
    write(folder / "study.zip", [("study/responses.pkl", b"x"), (name, b"[core]\n\tfsmonitor = touch canary\n")])
    said = fails(folder)
    assert repr(name[:80]) in said and "would be taken for a part of git or DVC" in said


def test_an_archive_that_would_become_a_folder_of_git_is_refused(folder):
    write(folder / ".git.zip", [("config", b"[core]\n\tfsmonitor = touch canary\n"), ("HEAD", b"ref: x")])
    assert "its own name would be taken for a part of git or DVC" in fails(folder)


def test_names_that_only_begin_like_those_are_unpacked(folder):
    write(folder / "study.zip", [("study/.gitattributes", b"x"), ("study/.dvc-notes", b"x"), ("study/git", b"x")])
    [found] = archives.unpack(folder, LIMIT)
    assert found.n_files == 3


# As other programs write them


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (["/", "mini_track/a.pkl"], ["data/mini_track/a.pkl"]),
        (["whole\\mini_track\\a.pkl", "whole\\b.pkl"], ["whole/b.pkl", "whole/mini_track/a.pkl"]),
        (["./whole/a.mp4", "./whole/b.mp4"], ["whole/a.mp4", "whole/b.mp4"]),
        (["whole/a\u00a0b.mp4", "whole/a\u200b\u00ad.mp4"], ["whole/a\u00a0b.mp4", "whole/a\u200b\u00ad.mp4"]),
        (["whole/a.pkl", "whole/._a.pkl", "whole/Thumbs.db", "whole/desktop.ini"], ["whole/a.pkl"]),
        (["final: whole/a.pkl"], ["final: whole/a.pkl"]),
    ],
)
def test_names_that_do_no_harm(folder, names, made):
    write(folder / "data.zip", [(name, b"" if name == "/" else b"1") for name in names])
    archives.unpack(folder, LIMIT)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == sorted(["data.zip", *made])


@pytest.mark.parametrize("name", ["study-20210401T120000Z", "study"])
def test_parts_of_a_download_become_one_folder(folder, name):
    for number in (1, 2, 3):
        write(folder / f"{name}-{number:03d}.zip", [(f"study/{number}", b"1")])
    third = (folder / f"{name}-003.zip").read_bytes()
    write(folder / f"{name}-003.zip", [("study/3", b"1"), ("study/1", b"1")])
    assert f"{name}-003.zip: holds 'study/1', and {name}-001.zip holds it too. Remove one" in fails(folder)
    (folder / f"{name}-003.zip").write_bytes(third)
    second = (folder / f"{name}-002.zip").read_bytes()
    (folder / f"{name}-002.zip").unlink()
    assert "part 002 of study is not there. Download it, too" in fails(folder)
    (folder / f"{name}-002.zip").write_bytes(second)
    found = archives.unpack(folder, LIMIT)
    assert [each.made for each in found] == [(folder / "study",)] * 3
    assert sorted(path.name for path in (folder / "study").iterdir()) == ["1", "2", "3"]


def test_archives_of_subjects_are_no_parts(folder):
    for number in (1, 3):
        write(folder / f"sub-{number:03d}.zip", [(f"sub-{number:03d}/a", b"1")])
    archives.unpack(folder, LIMIT)
    assert (folder / "sub-001" / "a").is_file() and (folder / "sub-003" / "a").is_file()


def test_a_method_that_python_cannot_read(folder):
    path = write(folder / "data.zip", [("a", b"1" * 400)])
    raw = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", raw, raw.index(magic) + offset, 9)
    path.write_bytes(raw)
    message = fails(folder)
    assert "compressed with Deflate64, as Windows does for large files, which Python cannot read" in message
    assert f"Unpack it yourself, `unzip '{path}' -d '{folder}'`" in message


def test_what_is_no_archive_says_what_it_is(folder):
    (folder / "data.zip").write_bytes(b"<!DOCTYPE html><title>Dropbox</title>")
    assert "it is a web page or XML, as a failed download leaves it. Such a page asks to log in" in fails(folder)
    (folder / "data.zip").rename(folder / "data.zip.crdownload")
    (folder / "more.tar.gz").touch()
    message = fails(folder)
    assert "; data.zip.crdownload: an unfinished download; more.tar.gz: unpack it yourself (`tar xf`)" in message
