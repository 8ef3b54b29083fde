from __future__ import annotations

from multimodal.ingest.duplicates.clusters import DisjointSets, NearPair, Neighbours
from multimodal.ingest.duplicates.fingerprint import Fingerprint
from multimodal.ingest.duplicates.index import FingerprintIndex
from multimodal.sample import Modality

PRINT = Fingerprint(b"key", b"proof", b"decoded")


def test_what_was_put_is_there_after_closing(tmp_path):
    """Keys come by content id; proofs come for those that are asked for."""
    index = FingerprintIndex(tmp_path / "i.sqlite")
    for content_id in "cab":
        index.put(Modality.IMAGE, content_id, "1", PRINT)
    index.close()
    again = FingerprintIndex(tmp_path / "i.sqlite")
    assert list(again.keys(Modality.IMAGE, "1")) == [("a", b"key"), ("b", b"key"), ("c", b"key")]
    assert again.proofs(Modality.IMAGE, "1", ["b", "x"]) == {"b": (b"proof", b"decoded")}
    again.close()


def test_versions_and_modalities_are_kept_apart(tmp_path):
    """What other code made is not there."""
    index = FingerprintIndex(tmp_path / "i.sqlite")
    index.put(Modality.IMAGE, "a", "1", PRINT)
    index.flush()
    assert index.held(Modality.IMAGE, "1", ["a", "b"]) == {"a"}
    assert index.held(Modality.IMAGE, "2", ["a"]) == index.held(Modality.AUDIO, "1", ["a"]) == set()
    assert list(index.keys(Modality.IMAGE, "2")) == []
    index.close()


def test_two_ingests_may_write_at_once(tmp_path):
    """Both put the same content: the second finds nothing to add, and nothing breaks."""
    one, two = (FingerprintIndex(tmp_path / "i.sqlite") for _ in range(2))
    for index in (one, two):
        for number in range(300):
            index.put(Modality.TEXT, f"{number:03d}", "1", PRINT)
    one.close()
    two.close()
    last = FingerprintIndex(tmp_path / "i.sqlite")
    assert len(list(last.keys(Modality.TEXT, "1"))) == 300
    last.close()


def test_a_damaged_index_is_begun_anew(tmp_path):
    """It is a memory and no result."""
    (tmp_path / "i.sqlite").write_bytes(b"no database at all" * 100)
    index = FingerprintIndex(tmp_path / "i.sqlite")
    index.put(Modality.IMAGE, "a", "1", PRINT)
    index.flush()
    assert index.held(Modality.IMAGE, "1", ["a"]) == {"a"}
    index.close()


def test_sets_are_named_by_their_smallest_whatever_the_order():
    """Joining is commutative and transitive."""
    for joins in (["ab", "bc", "de"], ["cb", "ed", "ba"], ["ca", "bc", "de"]):
        sets = DisjointSets()
        for first, second in joins:
            sets.join(first, second)
        assert [sets.find(name) for name in "abcdef"] == ["a", "a", "a", "d", "d", "f"]


def test_neighbours_are_direct_and_clusters_are_chains():
    """a is near b and b near c: all are one cluster, a and c are no neighbours."""
    near = Neighbours([NearPair(Modality.TEXT, "a", "b", 0.9), NearPair(Modality.TEXT, "b", "c", 0.8, True)])
    assert near.similarity("b", "a") == 0.9
    assert near.similarity("a", "c") is None
    assert near.similarity("x", "x") == 1
    assert near.clusters() == {"a": ["a", "b", "c"]}
    assert near.is_same("c", "b")
    assert not near.is_same("a", "b")
    assert near.cluster("x") == "x"
