"""Contents that are one once they are decoded: a PNG compressed again, a WAV as FLAC.

Hashing what every file decodes to would cost a tenth of an ingest. What is measured of it anyway is a function of the
same pixels or samples, so only files that agree in all measures can be one content: those alone are hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from PIL import Image

    from multimodal.ingest.measures import Measures
    from multimodal.ingest.sounds import Sound

ROWS_PER_STRIP = 64
NUM_BYTES = 16
OF_THE_FILE = frozenset({"bytes", "frames", "channels"})
"""Measures of a file that what it decodes to does not have."""

File = TypeVar("File")


def picture_digest(picture: Image.Image) -> bytes:
    """SHA-256 of a picture's size and pixels, its first 16 bytes; strip by strip, since a copy of all may not fit."""
    found = hashlib.sha256(repr(picture.size).encode())
    width, height = picture.size
    for top in range(0, height, ROWS_PER_STRIP):
        found.update(picture.crop((0, top, width, min(height, top + ROWS_PER_STRIP))).tobytes())
    return found.digest()[:NUM_BYTES]


def sound_digest(sound: Sound) -> bytes:
    """SHA-256 of a sound's rate and samples, its first 16 bytes."""
    found = hashlib.sha256(f"{sound.sampling_rate} ".encode())
    found.update(sound.wave.data if sound.wave.flags.c_contiguous else sound.wave.tobytes())
    return found.digest()[:NUM_BYTES]


@dataclass(slots=True)
class SameDecoded(Generic[File]):
    """Finds, of each content, the first one that decodes to the same.

    Args:
        digest: (file, content id) -> digest of what it decodes to, "" where that cannot be told.
    """

    digest: Callable[[File, str], str]
    _heads: dict[int, list[tuple[File, str]]] = field(default_factory=dict)
    _first: dict[str, tuple[File, str] | None] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def first(self, file: File, content_id: str, measures: Measures, decoded: str) -> tuple[File, str] | None:
        """File and id of the content that stands for this one; None where it stands for itself.

        Args:
            measures: of the decoder, under one and the same checks.
            decoded: digest of what it decodes to, "" where it is not known yet.
        """
        if content_id in self._first:
            return self._first[content_id]
        # A number, not the measures: there may be millions. Those that agree by chance are told apart by their digests.
        key = hash(tuple(sorted((name, value) for name, value in measures.items() if name not in OF_THE_FILE)))
        heads = self._heads.setdefault(key, [])
        if any(content_id == other for _, other in heads):
            return None
        if heads and decoded:
            self._digests[content_id] = decoded
        head = next((one for one in heads if self._is_same(one, (file, content_id))), None) if heads else None
        if heads:
            self._first[content_id] = head
        if head is None:
            heads.append((file, content_id))
        return head

    def _is_same(self, one: tuple[File, str], two: tuple[File, str]) -> bool:
        first = self._digest(one)
        return bool(first) and first == self._digest(two)

    def _digest(self, one: tuple[File, str]) -> str:
        file, content_id = one
        if content_id not in self._digests:
            self._digests[content_id] = self.digest(file, content_id)
        return self._digests[content_id]
