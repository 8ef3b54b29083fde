"""Cosines of contents and their texts, of those pairs alone whose score is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from multimodal.encoders.base import Encoder
from multimodal.latents import LatentStore
from multimodal.pairs.known import KnownScores, Scores
from multimodal.retrieval import unit_rows
from multimodal.sample import Sample, content_digest

Progress = Callable[[int, int], None]

_PAIRS_AT_ONCE = 8192
"""Scores are kept after so many, so that an interrupted run loses at most these."""


@dataclass(frozen=True, slots=True)
class ScoredSamples:
    """Scores of samples.

    Args:
        samples: those that were asked for, in their order.
        text_ids: digests of their texts.
        scores: float32 [samples], NaN where the content has no latents.
        computed: pairs that were not known.
        texts: distinct texts that were encoded for these.
    """

    samples: Sequence[Sample]
    text_ids: Sequence[str]
    scores: Scores
    computed: int
    texts: int


def score_samples(
    samples: Sequence[Sample],
    store: LatentStore,
    encoder: Callable[[], Encoder],
    known: KnownScores,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> ScoredSamples:
    """Score each sample's content with its text.

    Args:
        samples: of one modality.
        store: latents of their contents.
        encoder: gives the encoder that made these, which has a text side; asked only where a score is not known.
        known: scores of that encoder; new ones are added to it.
        batch_size: texts encoded at once.
        progress: called with (pairs done, pairs whose score was not known).

    Raises:
        EncoderError: the encoder has no text side, and a score is not known.
    """
    contents = [sample.content_id for sample in samples]
    texts = [content_digest(sample.text.encode()) for sample in samples]
    scores = known.look_up(contents, texts)
    missing = [row for row in np.flatnonzero(np.isnan(scores)).tolist() if contents[row] in store]
    by_pair: dict[tuple[str, str], list[int]] = {}
    for row in missing:
        by_pair.setdefault((contents[row], texts[row]), []).append(row)
    encoded = 0
    # By text, so that pairs of one text lie in one piece and it is encoded once.
    pairs = sorted(by_pair, key=lambda pair: (pair[1], pair[0]))
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        chunk = pairs[start : start + _PAIRS_AT_ONCE]
        found, count = _cosines(chunk, [samples[by_pair[pair][0]].text for pair in chunk], store, encoder(), batch_size)
        known.add([content for content, _ in chunk], [text for _, text in chunk], found)
        for pair, score in zip(chunk, found, strict=True):
            scores[by_pair[pair]] = score
        encoded += count
        if progress is not None:
            progress(start + len(chunk), len(pairs))
    return ScoredSamples(samples, texts, scores, len(pairs), encoded)


def _cosines(
    pairs: Sequence[tuple[str, str]], texts: Sequence[str], store: LatentStore, encoder: Encoder, batch_size: int
) -> tuple[Scores, int]:
    """Scores of pairs that are sorted by their texts, and how many texts these are."""
    distinct = list(dict.fromkeys(text for _, text in pairs))
    place = {text_id: row for row, text_id in enumerate(distinct)}
    of_id = {text_id: text for (_, text_id), text in zip(pairs, texts, strict=True)}
    vectors = np.concatenate(list(_text_vectors([of_id[text_id] for text_id in distinct], encoder, batch_size)))
    contents = unit_rows([store.pooled(content_id) for content_id, _ in pairs])
    own = unit_rows(list(vectors))[[place[text_id] for _, text_id in pairs]]
    return np.asarray((contents * own).sum(1), dtype=np.float32), len(distinct)


def _text_vectors(texts: Sequence[str], encoder: Encoder, batch_size: int) -> Iterator[Scores]:
    for start in range(0, len(texts), batch_size):
        yield encoder.embed_texts(texts[start : start + batch_size]).numpy()
