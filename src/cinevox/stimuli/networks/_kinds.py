"""Files that lie where a checkpoint is expected and are something else, told by how they begin."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

HEAD = 512  # bytes that are looked at
TORCH_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # the number at the beginning of checkpoints before torch 1.6

AGAIN = "Delete it and fetch it again"
UNPACK = "Unpack it and point to the file inside, or fetch it again as one"
CONVERT = "Convert it to a state dict of PyTorch where its own program is installed, or fetch it again as one"
BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer, which stands for the file", "`git lfs pull` in its repository "
     "brings the file; or fetch it again from its page"),
    (b"<", "a web page or a server's answer (HTML or XML), as a log-in or a refused download leaves it",
     "Open its address in a browser to see what is asked for, then fetch it again"),
    (b"{", "JSON text", "Fetch the file again that it describes, or that it says was not found"),
    (b"\x1f\x8b", "compressed with gzip", UNPACK),
    (b"BZh", "compressed with bzip2", UNPACK),
    (b"\xfd7zXZ", "compressed with xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"\x89HDF", "an HDF5 file, as Keras writes them", CONVERT),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
)  # fmt: skip


class Other(NamedTuple):
    """A file that is no checkpoint. what: completes "it is ..."; cure: a sentence without its full stop."""

    what: str
    cure: str


def what_else(path: Path) -> Other | None:
    """The kind of a file that is surely no state dict of torch or safetensors; None if it may be one."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if not head:
        return Other("an empty file", AGAIN)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for beginning, what, cure in BEGINNINGS:
        if text.startswith(beginning):
            return Other(what, cure)
    if head[257:262] == b"ustar":
        return Other("a tar archive", UNPACK)
    if head.startswith(b"\x80") and TORCH_MAGIC not in head[:64]:
        return Other(
            "a pickle that torch.save did not write",
            "If it is your own, open it where it was made and save its tensors: torch.save(state_dict, path); "
            "else fetch it again as a state dict",
        )
    if head.startswith(b"PK"):
        return _of_zip(path)
    return None


def _of_zip(path: Path) -> Other | None:
    """torch's files are zips of a folder with data.pkl in it, without compression."""
    if not zipfile.is_zipfile(path):
        return Other(f"cut off after {path.stat().st_size} bytes (a zip without its end)", AGAIN)
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    names = [part.filename for part in parts]
    if any(name.endswith("/constants.pkl") for name in names):
        return Other(
            "a TorchScript program",
            "Save the state dict of the network it was made from: torch.save(network.state_dict(), path), "
            "or fetch it again as a state dict",
        )
    if names and all(name.endswith(".npy") for name in names):
        return Other("a NumPy archive (.npz)", CONVERT)
    if not any(name.endswith("/data.pkl") for name in names):
        held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return Other(f"a zip archive of other files ({held or 'none'})", UNPACK)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        return Other(
            f"a compressed zip, which unpacks to {sum(part.file_size for part in parts)} bytes; torch.save compresses "
            "nothing",
            "If it was zipped again on its way, unzip it and put its folder into a zip without compression "
            "(zip -0 -r); else delete it and fetch it again",
        )
    return None
