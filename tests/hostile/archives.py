"""Archives, tables and lists that lie about what they hold, lead elsewhere, or swell."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.pictures import KEPT, _png, _saved

Rows = dict[str, str]
"""Name of a case -> reason that the ledger must give; in the order of the rows."""


class Bomb:
    """Its pickle makes a file where it is opened."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (Path("pickle-was-opened"), "x")


def _picture(number: int) -> bytes:
    return _saved("PNG", (40 + number, 40))


def _odd(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.devmajor, member.devminor = kind, target, 1, 5
    return member


def _tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def make_shards(folder: Path) -> Rows:
    """A folder of tar files."""
    folder.mkdir()
    names = {
        "tar-absolute-name": "/etc/1", "tar-parent-name": "../2", "tar-hidden-parent-name": "a/../../3",
        "tar-drive-name": "C:\\4", "tar-url-name": "file:///5",
    }  # fmt: skip
    members: dict[str, bytes | tarfile.TarInfo] = {}
    for number, name in enumerate(names.values()):
        members |= {f"{name}.png": _picture(number), f"{name}.txt": b"a dog"}
    cases = dict.fromkeys(names, "unsafe_name")
    kinds = {
        "tar-symlink": tarfile.SYMTYPE, "tar-hard-link": tarfile.LNKTYPE, "tar-character-device": tarfile.CHRTYPE,
        "tar-block-device": tarfile.BLKTYPE, "tar-fifo": tarfile.FIFOTYPE,
    }  # fmt: skip
    for name, kind in kinds.items():
        members |= {f"{name}.png": _odd(f"{name}.png", kind), f"{name}.txt": b"a dog"}
    cases |= dict.fromkeys(kinds, "unsafe_name")
    pickled = pickle.dumps(Bomb())
    texts: dict[str, tuple[dict[str, bytes], str]] = {
        "tar-pickle-alone": ({"pkl": pickled, "txt": b"a dog"}, "missing_file"),
        "tar-pickle-as-picture": ({"png": pickled, "txt": b"a dog"}, "wrong_format"),
        "tar-pickle-beside": ({"png": _picture(20), "pkl": pickled, "txt": b"a cat"}, KEPT),
        "tar-text-of-no-utf8": ({"png": _picture(21), "txt": b"caf\xe9"}, "invalid_utf8"),
        "tar-nested-json": ({"png": _picture(22), "json": b'{"text": "x", "a": ' + b"[" * 99_999}, "invalid_row"),
        "tar-deep-json": ({"png": _picture(23), "json": b'{"text": "x", "a": ' + b"[" * 99 + b"]" * 99 + b"}"},
                          "json_too_deep"),
        "tar-endless-text": ({"png": _picture(24), "txt": b"x" * (2 << 20)}, "text_too_long"),
        "tar-picture-bomb": ({"png": _png(3500, 3500, colour=6), "txt": b"a dog"}, "decoder_memory"),
    }  # fmt: skip
    for key, (parts, reason) in texts.items():
        members |= {f"{key}.{extension}": data for extension, data in parts.items()}
        cases[key] = reason
    _tar(folder / "0.tar", members)
    _damaged(folder)
    return cases | dict.fromkeys(("tar-name-of-2-gb", "tar-pax-header-of-2-gb", "tar-none-at-all"), "invalid_archive")


def _damaged(folder: Path) -> None:
    """Headers that state a name of 2 GB, in files of 300 MB, none of which are on the disk."""
    for number, kind in ((1, tarfile.GNUTYPE_LONGNAME), (2, tarfile.XHDTYPE)):
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, 2**31
        with (folder / f"{number}.tar").open("wb") as file:
            file.write(header.tobuf())
            file.truncate(300 << 20)
    (folder / "3.tar").write_bytes(b"no archive" * 100)


def make_tables(folder: Path) -> Rows:
    """A folder of Parquet files of two rows each."""
    folder.mkdir()
    wide, media = "x" * (40 << 20), b"x" * (40 << 20)
    small = [_picture(30), _picture(31)]
    tables: dict[str, tuple[dict[str, list[object]], str]] = {
        "parquet-text-dictionary": ({"image": small, "text": [wide, wide]}, "too_large"),
        "parquet-dictionary-beside": ({"image": small, "text": ["x", "y"], "more": [wide, wide]}, "too_large"),
        "parquet-media-dictionary": ({"image": [media, media], "text": ["x", "y"]}, "too_large"),
        "parquet-long-attribute": ({"image": small, "text": ["x", "y"], "more": ["x" * 10**6] * 2}, "text_too_long"),
        "parquet-of-html": ({"image": [b"<html>", b"<html> 404"], "text": ["x", "y"]}, "wrong_format"),
    }
    cases = {}
    for number, (name, (columns, reason)) in enumerate(tables.items()):
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", compression="zstd")
        cases |= {f"{name}-{row}": reason for row in (1, 2)}
    good = folder / f"{len(tables)}.parquet"
    pq.write_table(pa.table({"image": [_picture(40)], "text": ["fine"]}), good)
    (folder / f"{len(tables) + 1}.parquet").write_bytes(good.read_bytes()[:-20])
    return cases | {"parquet-good": KEPT, "parquet-cut": "invalid_archive"}


def make_captions(path: Path) -> Rows:
    """A COCO file whose annotations are of all kinds; nothing lies at the names of its pictures."""
    annotations = {
        "coco-caption-of-3-mb": (json.dumps({"image_id": 1, "caption": "x" * (3 << 20)}), "text_too_long"),
        "coco-nested": ('{"image_id": 1, "caption": "x", "a": ' + "[" * 50_000 + "]" * 50_000 + "}", "json_too_deep"),
        "coco-number-that-is-none": ('{"image_id": NaN, "caption": "x"}', "invalid_row"),
        "coco-endless-number": ('{"image_id": ' + "1" * 10_000 + ', "caption": "x"}', "invalid_row"),
        "coco-lone-surrogate": ('{"image_id": 1, "caption": "\\ud800"}', "invalid_utf8"),
        "coco-name-outside": ('{"image_id": 2, "caption": "x"}', "unsafe_name"),
        "coco-no-picture": ('{"image_id": 1, "caption": "x"}', "missing_file"),
        "coco-id-of-another-type": ('{"image_id": [1], "caption": "x"}', "invalid_row"),
    }
    images = [{"id": 1, "file_name": "gone.jpg"}, {"id": 2, "file_name": "../../etc/passwd"}]
    listed = ", ".join(text for text, _ in annotations.values())
    path.write_text(f'{{"images": {json.dumps(images)}, "annotations": [{listed}]}}')
    return {name: reason for name, (_, reason) in annotations.items()}
