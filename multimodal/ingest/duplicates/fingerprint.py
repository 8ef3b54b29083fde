"""The record that stands for a content when near duplicates are looked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Self

from multimodal.fingerprint import code_version, digest


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of one content.

    Args:
        key: what near duplicates are found by: 8 bytes of perceptual hash, or the bands of a MinHash.
        proof: what a pair that was found is verified by; b"" for texts, which are compared themselves.
        decoded: digest of the decoded content, 16 bytes: the same pixels or samples in another file.
    """

    key: bytes
    proof: bytes
    decoded: bytes

    @property
    def text(self) -> str:
        """All of it in hexadecimal digits, as a worker process sends it."""
        return " ".join(part.hex() for part in (self.key, self.proof, self.decoded))

    @classmethod
    def of_text(cls, text: str) -> Self:
        """The fingerprint of a `text`."""
        return cls(*map(bytes.fromhex, text.split(" ")))


def fingerprint_version(*code: str, libraries: tuple[str, ...]) -> str:
    """Of all that a fingerprint depends on beside the content: one made by another version is not used.

    Args:
        code: files of this library.
        libraries: names of distributions.
    """
    return digest([code_version(*code), [version(name) for name in libraries]])[:16]
