from __future__ import annotations

from collections import Counter

from multimodal.ingest.cluster_splits import ClusterSplitAssigner
from multimodal.ingest.drafts import Draft
from multimodal.ingest.duplicates.clusters import NearPair, Neighbours
from multimodal.ingest.options import SplitOptions
from multimodal.ingest.splits import SplitAssigner, hash_split
from multimodal.sample import Modality, Split, Task


def draft(content_id, group=None, official=None, source="s", picture=""):
    group = content_id if group is None else group
    return Draft(
        "u", source, Task.CAPTION, "text", "", "", "", "{}", group, official, None, content_id, picture_id=picture
    )


def near(*pairs):
    return Neighbours(NearPair(Modality.IMAGE, *sorted(pair), 0.95) for pair in pairs)


def assigned(drafts, *pairs, options=None):
    """Content id -> split, and what was moved."""
    assigner = ClusterSplitAssigner(options or SplitOptions(by_cluster=True))
    for one in drafts:
        assigner.add(one)
    moved = assigner.join(near(*pairs))
    return assigner.all(), moved


def named(split, start=0):
    """A group whose hash gives it that split."""
    return next(f"g{n}" for n in range(start, start + 200) if hash_split(f"g{n}", SplitOptions()) is split)


def test_without_near_duplicates_splits_are_what_they_were():
    """Clusters of one group each are split as groups are."""
    plain = SplitAssigner(SplitOptions(carve_val=0.2))
    drafts = [draft(f"c{n}", f"g{n // 2}") for n in range(400)]
    drafts += [draft(f"t{n}", f"h{n}", Split.TRAIN, "given") for n in range(200)]
    for one in drafts:
        plain.add(one)
    splits, moved = assigned(drafts, options=SplitOptions(carve_val=0.2, by_cluster=True))
    assert splits == plain.all()
    assert moved == []
    assert Counter(splits.values())[Split.VAL] > 50


def test_a_cluster_is_in_the_split_of_its_first_row():
    """Two groups of different splits that near duplicates join: the earlier decides, the later moves and is named."""
    train, test = draft("a", named(Split.TRAIN)), draft("b", named(Split.TEST))
    assert assigned([train, test], "ab") == ({"a": Split.TRAIN, "b": Split.TRAIN}, ["b"])
    assert assigned([test, train], "ab") == ({"a": Split.TEST, "b": Split.TEST}, ["a"])


def test_groups_come_along_whole():
    """A near duplicate in a group of three takes the other two with it."""
    drafts = [draft("a", named(Split.TEST)), *[draft(name, named(Split.TRAIN)) for name in "bcd"]]
    splits, moved = assigned(drafts, "ac")
    assert set(splits.values()) == {Split.TEST}
    assert moved == ["b", "c", "d"]


def test_growth_moves_nothing_but_what_it_joins_to_something_older():
    """Hundreds of appended rows, near to old ones or not: every old cluster stays where it was."""
    old = [draft(f"c{n:03d}") for n in range(300)]
    pairs = [(f"c{n:03d}", f"c{n + 1:03d}") for n in range(0, 100, 2)]
    before, _ = assigned(old, *pairs)
    new = [draft(f"b{n:03d}") for n in range(300)]
    after, _ = assigned([*old, *new], *pairs, *[(f"b{n:03d}", f"c{n:03d}") for n in range(300)])
    assert {name: after[name] for name in before} == before
    assert all(after[f"b{n:03d}"] is after[f"c{n:03d}"] for n in range(300))


def test_growth_that_joins_two_clusters_never_leaks():
    """A new row between two old ones: the younger of them follows the older, and is named."""
    old = [draft("a", named(Split.TRAIN)), draft("b", named(Split.TEST))]
    splits, moved = assigned([*old, draft("c", named(Split.VAL))], "ac", "bc")
    assert set(splits.values()) == {Split.TRAIN}
    assert moved == ["b", "c"]


def test_a_shared_picture_joins():
    """Two clips beside one picture, and the picture itself, are in one split."""
    drafts = [draft("a", named(Split.TRAIN), picture="p"), draft("b", named(Split.TEST), picture="p")]
    splits, _ = assigned([*drafts, draft("p", named(Split.VAL))])
    assert set(splits.values()) == {Split.TRAIN}


def test_a_content_in_two_groups_joins_them():
    """What both groups hold would be in two splits otherwise."""
    drafts = [draft("a", named(Split.TRAIN)), draft("a", named(Split.TEST)), draft("b", named(Split.TEST))]
    assert assigned(drafts)[0] == {"a": Split.TRAIN, "b": Split.TRAIN}


def test_official_splits_stay_and_the_others_follow():
    """A conflict between official splits is left to the gate; what has none goes with the tested."""
    drafts = [draft("a", official=Split.TRAIN), draft("b", official=Split.TEST), draft("c", named(Split.TRAIN))]
    splits, _ = assigned(drafts, "ac", "bc")
    assert splits == {"a": Split.TRAIN, "b": Split.TEST, "c": Split.TEST}


def test_a_carved_cluster_is_carved_whole():
    """Officially train clusters serve as val with all their contents, unless a source of theirs has a val."""
    options = SplitOptions(carve_val=0.3, by_cluster=True)
    drafts = [draft(f"c{n:03d}", official=Split.TRAIN) for n in range(200)]
    pairs = [(f"c{n:03d}", f"c{n + 1:03d}") for n in range(0, 200, 2)]
    splits, _ = assigned(drafts, *pairs, options=options)
    assert all(splits[one] is splits[two] for one, two in pairs)
    assert 30 < Counter(splits.values())[Split.VAL] < 90
    own = [draft(f"d{n:03d}", official=Split.TRAIN, source="own") for n in range(200)]
    has_val = draft("v", official=Split.VAL, source="own")
    joined, _ = assigned(
        [*drafts, *own, has_val], *zip(splits, (one.content_id for one in own), strict=True), options=options
    )
    assert Counter(joined.values()) == {Split.TRAIN: 400, Split.VAL: 1}
