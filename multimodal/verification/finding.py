"""What a verification found: differences, and what could not be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not what was written.

    Args:
        place: a file within the folder, and the row or content in it.
        what: how it differs.
    """

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Verification:
    """A folder that was held against its index.

    Args:
        path: the folder.
        kind: dataset, ledger, latents, checkpoint, package, report or stage.
        checked: files, rows and contents that were hashed again.
        differences: in the order in which they were found; empty where all is as written.
        notes: what could not be compared, and why.
    """

    path: Path
    kind: str
    checked: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(slots=True)
class Check:
    """A verification under way."""

    path: Path
    kind: str
    checked: int = 0
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def differs(self, place: str, what: str) -> None:
        """Note a difference."""
        self.differences.append(Difference(place, what))

    def expect(self, place: str, name: str, expected: object, found: object) -> None:
        """Note a difference where two values differ."""
        if expected != found:
            self.differs(place, f"{name}: {expected} written, {found} found")

    def done(self) -> Verification:
        """What was found."""
        return Verification(self.path, self.kind, self.checked, tuple(self.differences), tuple(self.notes))
