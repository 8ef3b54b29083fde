"""What can be said about near duplicates and about test rows that train holds too."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from multimodal.options import Options
from multimodal.sample import Modality

Handling = Literal["off", "flag", "drop"]


class DuplicateOptions(Options):
    """What becomes of near duplicates; exact ones (same content, task, style and text) are never kept twice.

    Contents are the same if their bytes are, or what they decode to: a PNG compressed again, a WAV as FLAC. The first
    row's file stands for all of them, as if all rows named it.

    With `flag`, a near duplicate is kept, and its ledger row names what it is like. With `drop`, its fate is that of
    a duplicate. A row is a near duplicate of another of its task and style if all that it is conditioned on is alike;
    rows of text must be alike in their targets too.

    Args:
        same_decoded: whether pictures and sounds of equal pixels and samples are one content; False goes by bytes.
        pictures, sounds, texts: off, flag or drop, for rows of that modality.
        min_picture_similarity: 1 less the squared difference of 16 x 16 block means in colour over their variances.
        min_sound_similarity: share of the fingerprint's bits that agree at the best shift; 0.5 is chance.
        min_text_similarity: Jaccard similarity of the sets of four characters in a row, case and punctuation aside.
    """

    same_decoded: bool = True
    pictures: Handling = "off"
    sounds: Handling = "off"
    texts: Handling = "off"
    min_picture_similarity: float = Field(default=0.93, gt=0, le=1)
    min_sound_similarity: float = Field(default=0.82, gt=0.5, le=1)
    min_text_similarity: float = Field(default=0.7, ge=0.3, le=1)

    @property
    def are_off(self) -> bool:
        """Whether near duplicates decide nothing."""
        return self.pictures == self.sounds == self.texts == "off"

    def of(self, modality: Modality) -> Handling:
        """How near duplicates of a modality are handled."""
        return {Modality.IMAGE: self.pictures, Modality.AUDIO: self.sounds, Modality.TEXT: self.texts}[modality]

    def least(self, modality: Modality) -> float:
        """The similarity from which on two contents are near duplicates."""
        return {
            Modality.IMAGE: self.min_picture_similarity,
            Modality.AUDIO: self.min_sound_similarity,
            Modality.TEXT: self.min_text_similarity,
        }[modality]


TextLeaks = Literal["rows", "targets", "all"]


class DecontaminationOptions(Options):
    """The gate after ingest: how much of test may be in train, exactly or nearly.

    A model of several tasks learns an answer from whichever task asks for it. Hence texts leak, by `texts`:

    - `rows`: if train holds, for the same task, input and target together. For tasks that are trained apart.
    - `targets`: also if train holds the target as that of any row of text: a sentence to be cleaned whose gaps were
      filled, or that another noisy input led to. Captions and transcripts do not count: that two pictures have one
      caption, or two speakers say one sentence, is the nature of the data.
    - `all`: captions and transcripts count too, beside each other and beside texts: for transcripts that are to be new
      sentences, and not only new voices. `splits.by_cluster` then keeps those of one text together.

    Args:
        max_share: of the test samples; above it the run stops and names the pairs. None only reports, and compares
            nearly only those modalities whose duplicates are flagged or dropped, or all with `splits.by_cluster`.
        texts: rows, targets or all; see above.
        min_target_chars: a shorter target is common property, and leaks with its input only.
    """

    max_share: float | None = Field(default=None, ge=0, le=1)
    texts: TextLeaks = "targets"
    min_target_chars: int = Field(default=20, ge=1)

    def compares_target(self, modality: Modality, text: str) -> bool:
        """Whether a row leaks if train holds its target for whatever task.

        Args:
            modality: of its content.
            text: the target.
        """
        counts = self.texts == "all" or (self.texts == "targets" and modality is Modality.TEXT)
        return counts and len(text) >= self.min_target_chars
