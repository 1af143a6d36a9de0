"""Recognising a file that is not what was expected, by its first bytes."""

from __future__ import annotations

from pathlib import Path

_KINDS = {
    b"\x1f\x8b": "it is compressed with gzip: decompress it first (`gunzip < FILE > OTHER`)",
    b"BZh": "it is compressed with bzip2: decompress it first (`bunzip2 < FILE > OTHER`)",
    b"\xfd7zXZ": "it is compressed with xz: decompress it first (`unxz < FILE > OTHER`)",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd: decompress it first (`unzstd < FILE > OTHER`)",
    b"7z\xbc\xaf\x27\x1c": "it is a 7-Zip archive: unpack it first (`7z x`)",
    b"Rar!": "it is a RAR archive: unpack it first",
    b"PK": "it is a zip archive: unpack it first",
    b"\x89HDF": "it is an HDF5 file, which MATLAB 7.3 and netCDF 4 write too: read it with h5py",
    b"CDF\x01": "it is a netCDF file: read it with scipy.io.netcdf_file",
    b"CDF\x02": "it is a netCDF file: read it with scipy.io.netcdf_file",
    b"CDF\x05": "it is a netCDF file: read it with xarray",
    b"MATLAB 5.0": "it is a MATLAB .mat file: read it with scipy.io.loadmat",
    b"\x93NUMPY": "it is a .npy file: read it with numpy.load",
    b"version https://git-lfs": "it is a Git LFS pointer: run `git lfs pull`",
    b"/annex/objects/": "it is a git-annex pointer: run `git annex get` or `datalad get`",
    b"\x00\x05\x16\x07": "it is a file that macOS keeps beside another one (its name begins with ._): delete it",
    b"<": "it is a web page or XML, as a failed download leaves it",
    b"%PDF": "it is a PDF",
}
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_START = 300  # bytes; tar's mark stands at 257


def kind_of(path: Path) -> str:
    """The kind of file as a sentence with what to do, "" if it is not known.

    An `OSError` where it cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(_START)
    found = next((what for magic, what in _KINDS.items() if start.startswith(magic)), "")
    if start.startswith(b"PK") and b"/data.pkl" in start:
        return "it is a file of torch.save: read it with torch.load(..., weights_only=True)"
    if start.startswith(b"PK") and b".npy" in start:
        return "it is a .npz file: read it with numpy.load"
    if not found and start[257:262] == b"ustar":
        return "it is a tar archive: unpack it first (`tar xf`)"
    if not found and start.startswith(_ZLIB):
        return "it is compressed with zlib, as `joblib.dump(..., compress=...)` does: load it with joblib"
    if not found and start and not start.strip(b"\0"):
        return "it begins with zeros, as a download that was broken off can leave it"
    return found
