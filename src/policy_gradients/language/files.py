"""Files: read within bounds, and written whole or not at all."""

import contextlib
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARTIAL = ".partial"  # ends the name of what is being written or removed; whoever is killed then leaves it behind
LARGEST = 2**28  # bytes of a file of text: beyond that it is something else
_CHUNK = 2**24


def read_text(path: Path, largest: int = LARGEST) -> str:
    """UTF-8 text of a regular file.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: a folder, a device, too large, or not UTF-8.
    """
    kind = path.stat()
    if stat.S_ISDIR(kind.st_mode):
        raise ValueError(f"{path} is a folder, where a file is wanted")
    if not stat.S_ISREG(kind.st_mode):
        raise ValueError(f"{path} is no ordinary file")
    if kind.st_size > largest:
        raise ValueError(f"{path} has {kind.st_size:,} bytes, and {largest:,} are the most that are read")
    with naming(path), path.open("rb") as file:
        content = file.read(largest + 1)  # some files of /proc say that they are empty
    if len(content) > largest:
        raise ValueError(f"{path} is larger than the {largest:,} bytes that are read at most")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start})") from None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system that do not say which file they are about say so."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def require_place(path: Path) -> None:
    """Raise OSError or ValueError unless a file or folder of this name could be made, or is there to be written."""
    there = path
    while True:
        try:
            there.lstat()
            break
        except FileNotFoundError:
            there = there.parent
    if there.is_symlink() and not there.exists():
        raise ValueError(f"{there} is a link to nothing")
    if there.is_dir():
        with naming(there), tempfile.TemporaryFile(dir=there):
            return
    if there != path:
        raise ValueError(f"{path} cannot be made: {there} is no folder")
    with path.open("ab"):
        return


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old or the new content, never a part.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():  # a device, a pipe
        with naming(path):
            path.write_bytes(content)
        return
    partial = path.with_name(path.name + PARTIAL)
    try:
        with naming(path):
            partial.write_bytes(content)
            put(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def fresh(target: Path) -> Path:
    """An empty folder to fill in place of `target`."""
    partial = target.with_name(target.name + PARTIAL)
    discard(partial)
    partial.mkdir()
    return partial


def put(partial: Path, target: Path) -> None:
    """Give a file or a folder its name once all of it is on the disk."""
    inside = [file for file in partial.rglob("*") if file.is_file()] if partial.is_dir() else [partial]
    if partial.is_dir():
        as_the_umask_says(inside, partial)
    for file in inside:
        flush(file)
    if partial.is_dir():
        flush(partial)
        remove(target)
    partial.replace(target)
    flush(target.parent)


def as_the_umask_says(files: Iterable[Path], folder: Path) -> None:
    """Files that a library made for its user alone get the permissions of any new file."""
    probe = folder / ("mode" + PARTIAL)
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for file in files:
        if stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)


def remove(folder: Path) -> None:
    """Take its name away first: what has the name of a checkpoint is one, also while it is removed."""
    if folder.is_symlink():  # what it points to is somebody else's
        folder.unlink()
    elif folder.exists():
        going = folder.with_name(f"removed-{folder.name}{PARTIAL}")
        discard(going)
        folder.replace(going)
        shutil.rmtree(going)


def discard(path: Path) -> None:
    """Remove what was left behind, a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the disk hold what was written to a file, or which names a folder has."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(path: Path) -> str:
    """CRC-32 and size: against bits that flip and files that are edited or mixed up. It is several times as fast as
    SHA-256, which would guard no better: whoever can rewrite a file on purpose can rewrite its checksum."""
    value = size = 0
    with naming(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value, size = zlib.crc32(chunk, value), size + len(chunk)
    return f"{value:08x}-{size}"


def checksums(files: Iterable[Path]) -> dict[str, str]:
    """File name → checksum, two files at a time."""
    files = sorted(files)
    with ThreadPoolExecutor(2) as pool:
        return {file.name: value for file, value in zip(files, pool.map(checksum, files), strict=True)}


def changed_files(folder: Path, known: dict[str, str]) -> list[str]:
    """Names of those files that are not there any more, or not as their checksums say."""
    there = checksums(folder / name for name in known if (folder / name).is_file())
    return [name for name, value in known.items() if there.get(name) != value]
