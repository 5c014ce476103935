"""Where the data sets are, and where what is made from them is kept.

A set is looked for as `<name>/` or `<name>.tar.gz` in `data_dir` if that is given,
else in the folder named by the environment variable `MTL_ZOO_DATA`. Archives are
unpacked, and TFDS sets prepared, once, into the folder named by `MTL_ZOO_CACHE`
(default: `~/.cache/mtl_zoo`). What is cached is keyed by the archive's place, size
and time, so that a second copy of a set never meets what was made from the first.
"""

import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable

import tensorflow_datasets as tfds

__all__ = ["DataNotFoundError", "cache_dir", "find", "made_once", "prepared"]


class DataNotFoundError(FileNotFoundError):
    """A data set is not on this machine; the message says how to get it."""


def cache_dir() -> pathlib.Path:
    """Returns the folder for unpacked archives and prepared data sets."""
    return pathlib.Path(
        os.environ.get("MTL_ZOO_CACHE") or pathlib.Path.home() / ".cache" / "mtl_zoo"
    )


def made_once(
    target: pathlib.Path, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """Makes a folder whole or not at all.

    `write` fills a temporary folder beside `target`, which is then renamed. Of two
    processes that do this at once, the second finds the folder there and throws its
    own copy away. An interrupted process leaves at most a `.tmp` folder behind.

    Args:
        target: Folder that shall exist.
        write: Function that fills the folder it is given, which exists and is empty.

    Returns:
        `target`.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(
        tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".tmp", dir=target.parent)
    )
    try:
        write(made)
        os.replace(made, target)
    except OSError:
        if not target.is_dir():  # Not a lost race: a full disc, a broken archive.
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def find(name: str, data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Finds a data set and returns its unpacked folder.

    Args:
        name: Name of the set, e.g. `"dsb2018_nuclei"`.
        data_dir: Folder that holds `<name>/` or `<name>.tar.gz`. Defaults to the
            environment variable `MTL_ZOO_DATA`.

    Returns:
        The folder of the set: the given one, or the archive's copy in the cache.

    Raises:
        DataNotFoundError: If there is neither folder nor archive.
    """
    folder = data_dir or os.environ.get("MTL_ZOO_DATA")
    if not folder:
        raise DataNotFoundError(
            f"The data set {name!r} is needed, but no data folder is known. Set the "
            f"environment variable MTL_ZOO_DATA to a folder that holds {name}.tar.gz "
            f"(or unpacked: {name}/), or pass data_dir=."
        )
    unpacked = pathlib.Path(folder) / name
    if unpacked.is_dir():
        return unpacked
    archive = pathlib.Path(folder) / f"{name}.tar.gz"
    if not archive.is_file():
        raise DataNotFoundError(
            f"Expected {name}.tar.gz or the folder {name}/ in {folder}. Found neither. "
            "Put the archive there, or name another folder with MTL_ZOO_DATA or "
            "data_dir=. The set's builder in mtl_zoo.data names its homepage and "
            "paper, and the README.md in the archive its exact source and licence."
        )

    def unpack(target: pathlib.Path) -> None:
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")

    return made_once(cache_dir() / "unpacked" / _key(archive), unpack) / name


def prepared(
    builder_class: type[tfds.core.GeneratorBasedBuilder],
    data_dir: str | os.PathLike | None = None,
    archive: str | None = None,
) -> tfds.core.GeneratorBasedBuilder:
    """Prepares a TFDS set of ours into the cache, once.

    Args:
        builder_class: A builder whose constructor takes `source`, the unpacked
            folder of the set.
        data_dir: As in `find`.
        archive: Name of the archive that the set is made from, which no other builder
            uses. Defaults to None: that of the builder.

    Returns:
        The builder, ready for `as_dataset`. Where the set was prepared before, the
        archive is not unpacked again, but it must still be there.
    """
    source = find(archive or builder_class.name, data_dir)
    files = [source / name for name in ("annotations.json", "README.md")]
    marker = next((file for file in files if file.is_file()), source)
    target = cache_dir() / "tfds" / _key(marker)
    made = pathlib.Path(builder_class.name) / str(builder_class.VERSION)

    def prepare(folder: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as inner:
            builder = builder_class(source=source, data_dir=inner)
            builder.download_and_prepare()
            for file in (pathlib.Path(inner) / made).iterdir():
                file.rename(folder / file.name)

    made_once(target / made, prepare)
    return builder_class(source=source, data_dir=str(target))


def _key(path: pathlib.Path) -> str:
    """Returns a folder name that stands for this state of this file."""
    path = path.resolve()
    state = path.stat()
    text = f"{path}|{state.st_size}|{state.st_mtime_ns}"
    stem = path.name.split(".")[0] if path.suffix == ".gz" else path.parent.name
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
