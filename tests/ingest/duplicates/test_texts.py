from __future__ import annotations

from itertools import combinations

import numpy as np

from multimodal.ingest.duplicates.kinds import kind_of
from multimodal.ingest.duplicates.options import DuplicateOptions
from multimodal.ingest.duplicates.search import WINDOW, candidate_pairs
from multimodal.ingest.duplicates.texts import NUM_PERM, fingerprint_text, rows, text_similarity
from multimodal.sample import Modality

TEXT = "the museum on the corner of the old market opens its doors to visitors at nine in the morning"
OTHER = "nobody had expected that the ferry would leave the harbour before the storm was over"


def candidates(texts, least=0.7):
    kind = kind_of(Modality.TEXT, DuplicateOptions(min_text_similarity=least))
    keys = np.stack([np.frombuffer(fingerprint_text(text.encode(), kind.least).key, np.uint8) for text in texts])
    return candidate_pairs(keys, kind.bands(keys), kind.max_bits).tolist()


def similarity(first, second):
    return text_similarity(*(fingerprint_text(text.encode(), 0.7).proof for text in (first, second)))


def test_similarity_is_the_jaccard_similarity_of_shingles():
    """`abcde` and `abcdf` share one of three runs of four characters."""
    assert similarity("abcde", "abcdf") == 1 / 3
    assert similarity(TEXT, TEXT) == 1
    assert similarity("ab", "ab") == 1
    assert similarity("ab", "cd") == 0


def test_looks_make_no_difference():
    """Case, punctuation and white space are no part of a text that is compared; symbols alone still are texts."""
    assert similarity("A red house, there!", "a  red house - there") == 1
    assert similarity("?!", "...") == 0


def test_a_text_with_one_word_changed_is_found_and_unrelated_ones_are_not():
    """One word of eighteen is above the threshold, whichever it is; another sentence is far below."""
    words = TEXT.split()
    changed = [" ".join([*words[:n], "yellow", *words[n + 1 :]]) for n in range(len(words))]
    for text in changed:
        assert similarity(TEXT, text) >= 0.7
        assert candidates([TEXT, text]) == [[0, 1]]
    assert similarity(TEXT, OTHER) < 0.2
    assert candidates([TEXT, OTHER]) == []


def test_bands_find_pairs_at_the_threshold():
    """Of pairs a little above the threshold, at least 98 in 100 share a band."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    found = total = 0
    for _ in range(300):
        text = "".join(rng.choice(letters, 120))
        place = int(rng.integers(10, 80))
        changed = text[:place] + "".join(rng.choice(letters, 17)) + text[place + 17 :]
        if similarity(text, changed) >= 0.7:
            total += 1
            found += candidates([text, changed]) == [[0, 1]]
    assert total > 100
    assert found >= 0.98 * total


def test_rows_per_band_follow_the_threshold():
    """A higher threshold takes longer bands, which fewer others share."""
    assert [rows(least) for least in (0.3, 0.7, 0.8, 0.95)] == sorted(rows(least) for least in (0.3, 0.7, 0.8, 0.95))
    for least in (0.5, 0.7, 0.8, 0.9):
        assert 1 - (1 - least ** rows(least)) ** (NUM_PERM // rows(least)) >= 0.99


def test_a_crowded_band_costs_no_more_than_its_window():
    """Thousands of items in one bucket are compared with their neighbours only."""
    keys = np.zeros((2000, 4), np.uint8)
    pairs = candidate_pairs(keys, keys.view(np.uint32), None)
    assert len(pairs) <= 2000 * WINDOW
    assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_every_pair_is_named_once_and_in_order():
    """Pairs that share several bands are one pair, the smaller number first."""
    assert candidates([TEXT, OTHER, TEXT, TEXT]) == [list(pair) for pair in combinations((0, 2, 3), 2)]
    assert candidates([TEXT]) == []
