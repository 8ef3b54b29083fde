"""The profile of a ledger: histograms of what its checks measured, and how many samples stand out in what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from multimodal.fingerprint import write_file
from multimodal.ingest.histograms import Histogram

PROFILE = "profile.json"


@dataclass(frozen=True, slots=True)
class LanguageCount:
    """Rows whose target text is most likely in one language, and kept samples among them."""

    rows: int
    kept: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of the values behind a dataset.

    Args:
        histograms: one per threshold that any row reached.
        flag_robust_z: beyond which a sample is flagged, None where none is.
        flagged: samples with at least one flag.
        flags: `<modality>.<feature>` -> samples flagged for it.
        languages: code -> its rows, the most frequent first; empty unless `checks.languages` asks for languages.
    """

    histograms: tuple[Histogram, ...]
    flag_robust_z: float | None
    flagged: int
    flags: Mapping[str, int]
    languages: Mapping[str, LanguageCount] = field(default_factory=dict)


_ADAPTER = TypeAdapter(Profile)


def write_profile(ledger: Path, profile: Profile) -> None:
    """Store a profile beside its ledger."""
    write_file(ledger / PROFILE, _ADAPTER.dump_json(profile, indent=1) + b"\n")


def read_profile(ledger: Path) -> Profile | None:
    """The profile beside a ledger; None where it was made by a version that measured nothing."""
    path = ledger / PROFILE
    return _ADAPTER.validate_json(path.read_bytes()) if path.is_file() else None
