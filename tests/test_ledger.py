import pytest

from multimodal.dataset import Fate, read_ledger
from multimodal.errors import DatasetError, RequestError
from multimodal.ledger import LedgerCount, count_rows, find_rows, rows_that_repeat
from multimodal.ledger_balance import check_balance

pytest_plugins = ("tests.workspace_fixtures",)


def test_counts_are_those_of_the_rows(ingested_once):
    """By source, fate and reason; together they are all rows that the sources have."""
    info = ingested_once.dataset.info
    counts = count_rows(info.ledger)
    assert sum(count.rows for count in counts) == info.counts.rows == 10 + 2 + 21
    assert LedgerCount("pictures", Fate.KEPT, "", 4) in counts
    assert LedgerCount("pictures", Fate.DUPLICATE, "", 1) in counts
    assert LedgerCount("sounds", Fate.QUARANTINED, "truncated_audio", 1) in counts
    reasons = {count.reason: count.rows for count in counts if count.source == "pictures" and count.reason}
    assert reasons == dict.fromkeys(("empty_text", "missing_file", "too_small", "truncated_image", "wrong_format"), 1)
    assert [count.source for count in counts] == sorted(count.source for count in counts)


def test_rows_are_found_by_what_is_asked_for(ingested_once):
    """Each filter alone, both together, and the limit with the count of all."""
    ledger = ingested_once.dataset.info.ledger
    assert find_rows(ledger)[0] == read_ledger(ledger)
    (row,), total = find_rows(ledger, reason="truncated_image")
    assert (row.uri, total) == ("pictures.csv#6", 1)
    assert find_rows(ledger, reason="empty_text", source="pictures")[1] == 1
    rows, total = find_rows(ledger, fate="kept", source="texts", limit=3)
    assert [row.uri for row in rows] == [f"texts.csv#{number}" for number in (1, 2, 3)] and total == 20
    kept = ingested_once.sample("one").sample_id
    assert [row.uri for row in rows_that_repeat(ledger, kept)] == ["pictures.csv#5"]


def test_a_reason_that_no_row_has_is_refused_with_the_nearest(ingested_once, tmp_path):
    """A typing error is no empty answer."""
    ledger = ingested_once.dataset.info.ledger
    with pytest.raises(RequestError, match="did you mean 'too_small'"):
        find_rows(ledger, reason="to_small")
    with pytest.raises(RequestError, match="there are: pictures, sounds, texts"):
        find_rows(ledger, source="qqq")
    with pytest.raises(RequestError, match=r"has the source 'nope'.*has the fate 'bla'"):
        find_rows(ledger, source="nope", fate="bla", reason="too_small")
    with pytest.raises(DatasetError, match="multimodal ingest"):
        count_rows(tmp_path)


def test_books_that_balance_are_passed():
    """All three counts agree, also where a source has no row or a row no sample."""
    fates = {"a": {"kept": 2, "quarantined": 1, "duplicate": 4}, "b": {"quarantined": 3}}
    check_balance(fates, {"a": 2}, {"a": 7, "b": 3, "c": 0})
    check_balance(fates, {"a": 2})


@pytest.mark.parametrize(
    ("rows_in", "kept", "source"),
    [({"a": 7, "b": 4}, {"a": 2}, "b"), ({"a": 7, "b": 3, "c": 1}, {"a": 2}, "c"), ({"a": 7, "b": 3}, {"a": 1}, "a")],
    ids=["a row without a fate", "a source without fates", "a kept row without a sample"],
)
def test_a_source_that_does_not_balance_is_named(rows_in, kept, source):
    """The totals may agree: the books are kept by source."""
    fates = {"a": {"kept": 2, "quarantined": 1, "duplicate": 4}, "b": {"quarantined": 3}}
    with pytest.raises(DatasetError, match=f"ledger of source '{source}' does not balance"):
        check_balance(fates, kept, rows_in)
