from __future__ import annotations

from collections import Counter

from multimodal.ingest.drafts import Draft
from multimodal.ingest.options import SplitOptions
from multimodal.ingest.splits import SplitAssigner, SplitOrigin, hash_split
from multimodal.sample import Split, Task


def draft(content_id, group="g", official=None, source="s"):
    return Draft("u", source, Task.CAPTION, "text", "", "", "", "{}", group, official, None, content_id)


def assign(*drafts, options=None):
    assigner = SplitAssigner(options or SplitOptions())
    for one in drafts:
        assigner.add(one)
    return assigner


def test_shares_are_kept():
    """Of many groups, a tenth each is val and test by default."""
    counts = Counter(hash_split(f"group {n}", SplitOptions()) for n in range(5000))
    assert abs(counts[Split.VAL] - 500) < 80
    assert abs(counts[Split.TEST] - 500) < 80


def test_the_hash_is_pinned():
    """These splits are on disk in the world: they never change."""
    assert [hash_split(name, SplitOptions(val=0.3, test=0.3)) for name in "abcdef"] == [
        Split.VAL, Split.VAL, Split.TEST, Split.TRAIN, Split.VAL, Split.TRAIN,
    ]  # fmt: skip


def test_a_larger_val_moves_nothing_out_of_test():
    """The share of val takes from train alone."""
    groups = [f"group {n}" for n in range(1000)]
    before = {group for group in groups if hash_split(group, SplitOptions(val=0.1)) is Split.TEST}
    after = {group for group in groups if hash_split(group, SplitOptions(val=0.3)) is Split.TEST}
    assert before == after


def test_official_splits_win_over_the_hash():
    """A group whose hash says test is train where the source says so."""
    group = next(f"g{n}" for n in range(100) if hash_split(f"g{n}", SplitOptions()) is Split.TEST)
    assert assign(draft("c", group)).split("c") is Split.TEST
    assert assign(draft("c", group, Split.TRAIN)).split("c") is Split.TRAIN


def test_a_content_that_any_source_tests_is_test_everywhere():
    """Shared contents never leak: test wins over val over train, whatever the order."""
    claims = [draft("c", official=split, source=split) for split in (Split.TRAIN, Split.TEST, Split.VAL)]
    for order in (claims, claims[::-1]):
        assert assign(*order).split("c") is Split.TEST
    assert assign(draft("c"), draft("c", official=Split.VAL)).split("c") is Split.VAL


def test_the_first_row_decides_for_a_content_that_two_groups_share():
    """Without official splits, a content stays where its first row put it."""
    test = next(f"g{n}" for n in range(100) if hash_split(f"g{n}", SplitOptions()) is Split.TEST)
    train = next(f"g{n}" for n in range(100) if hash_split(f"g{n}", SplitOptions()) is Split.TRAIN)
    assert assign(draft("c", test), draft("c", train)).split("c") is Split.TEST
    assert assign(draft("c", train), draft("c", test)).split("c") is Split.TRAIN


def test_val_is_carved_only_where_a_source_has_none():
    """A share of officially train groups serves as val; a source with its own val gives nothing."""
    options = SplitOptions(carve_val=0.2)
    train = [draft(f"c{n}", f"g{n}", Split.TRAIN) for n in range(500)]
    counts = Counter(assign(*train, options=options).split(one.content_id) for one in train)
    assert 70 < counts[Split.VAL] < 130
    assert counts[Split.TEST] == 0
    own = assign(*train, draft("v", official=Split.VAL), options=options)
    assert {own.split(one.content_id) for one in train} == {Split.TRAIN}


def test_every_split_says_what_decided_it():
    """A claim of a source, the hash of a group that is carved out of train, or the hash alone."""
    options = SplitOptions(carve_val=0.5)
    drafts = [draft(f"c{n}", f"g{n}", Split.TRAIN) for n in range(40)]
    known = assign(*drafts, draft("free", "h"), draft("tested", "t", Split.TEST), options=options)
    carved = {f"c{n}" for n in range(40) if known.split(f"c{n}") is Split.VAL}
    assert 0 < len(carved) < 40
    origins = {name: known.origin(name) for name in known.all()}
    assert {name for name, origin in origins.items() if origin is SplitOrigin.CARVED} == carved
    assert origins["free"] is SplitOrigin.HASH and origins["tested"] is SplitOrigin.SOURCE
    assert all(origins[f"c{n}"] is SplitOrigin.SOURCE for n in range(40) if f"c{n}" not in carved)
