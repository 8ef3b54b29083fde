import hashlib
import random

from multimodal.merkle import RowTree, leaf_hash, tree_hash

CERTIFICATE_TRANSPARENCY = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""Leaves of the tests of Google's Certificate Transparency; the roots below are theirs too."""


def root_of(rows):
    tree = RowTree()
    for row in rows:
        tree.add(row)
    return tree.root


def test_roots_are_those_of_certificate_transparency():
    """The published values of RFC 6962's reference implementation, odd numbers of leaves included."""
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    leaves = [leaf_hash(leaf) for leaf in CERTIFICATE_TRANSPARENCY]
    assert {count: tree_hash(leaves[:count]).hex() for count in roots} == roots
    assert tree_hash([]) == hashlib.sha256(b"").digest()


def test_order_counts_for_nothing_and_everything_else_does():
    """Rows in another order have the same root; a changed, added, removed or repeated row another one."""
    rows = [{"id": str(number), "text": f"text {number}"} for number in range(13)]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert shuffled != rows and root_of(shuffled) == root_of(rows)
    swapped = [rows[0] | {"text": rows[1]["text"]}, rows[1] | {"text": rows[0]["text"]}, *rows[2:]]
    others = [rows[1:], [*rows, {"id": "13"}], [*rows, rows[0]], swapped]
    assert len({root_of(each) for each in (rows, *others)}) == 5


def test_an_empty_column_is_no_column():
    """A table may gain a column without a new root, as long as the rows leave it empty."""
    assert root_of([{"a": "1", "b": ""}]) == root_of([{"a": "1"}]) != root_of([{"a": "", "b": "1"}])
