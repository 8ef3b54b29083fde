"""Tiny media, made here, and sources built from them."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

Picture = Callable[..., bytes]


@pytest.fixture
def picture() -> Picture:
    """`picture(seed, kind="JPEG", size=(32, 32))`: bytes of a noisy picture, different for every seed."""

    def draw(seed: int = 0, kind: str = "JPEG", size: tuple[int, int] = (32, 32)) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        return buffer.getvalue()

    return draw


@pytest.fixture
def sound() -> Callable[..., bytes]:
    """`sound(seed, kind="WAV", seconds=0.5, amplitude=0.5, subtype=None)`: bytes of a noisy 8 kHz clip."""

    def speak(
        seed: int = 0, kind: str = "WAV", seconds: float = 0.5, amplitude: float = 0.5, subtype: str | None = None
    ) -> bytes:
        samples = amplitude * np.random.default_rng(seed).uniform(-1, 1, int(8000 * seconds))
        buffer = io.BytesIO()
        soundfile.write(buffer, samples.astype(np.float32), 8000, format=kind, subtype=subtype)
        return buffer.getvalue()

    return speak


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., Path]:
    """`manifest(name, rows)`: a CSV (or, by its name, TSV) file of rows, the first one the header."""

    def write(name: str, rows: Sequence[Sequence[str]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            if path.suffix == ".tsv":
                file.writelines("\t".join(row) + "\n" for row in rows)
            else:
                csv.writer(file).writerows(rows)
        return path

    return write


@pytest.fixture
def tar() -> Callable[..., bytes]:
    """`tar(members, end=True)`: bytes of a tar file; a member is (name, bytes), or a TarInfo of any kind."""

    def pack(members: Sequence[tuple[str, bytes] | tarfile.TarInfo], end: bool = True) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as file:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    file.addfile(member)
                    continue
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
            used = file.offset
        return buffer.getvalue() if end else buffer.getvalue()[:used]

    return pack
