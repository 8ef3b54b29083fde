from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multimodal.errors import MediaError
from multimodal.ingest import cells
from multimodal.ingest.cells import RowGroups
from multimodal.ingest.parquet_pages import pages_of
from multimodal.ingest.reasons import Reason

MOST = 1 << 20


@pytest.fixture
def column(tmp_path):
    """`column(values, group=..., **options)`: a Parquet file with the values in `media`."""

    def write(values, group=1 << 20, **options):
        path = tmp_path / "m.parquet"
        pq.write_table(pa.table({"media": pa.array(values, pa.binary())}), path, row_group_size=group, **options)
        return path

    return write


@pytest.fixture
def opened(monkeypatch):
    """The cursors that were made, each of which reads a row group from its beginning."""
    made = []
    real = cells._Cursor

    def counted(group):
        made.append(real(group))
        return made[-1]

    monkeypatch.setattr(cells, "_Cursor", counted)
    return made


def noise(count, size=1000):
    return [np.random.default_rng(seed).bytes(size + seed) for seed in range(count)]


def test_cells_in_order_read_a_row_group_once(column, opened):
    """And no more than the last rows of it are held."""
    values = noise(300)
    path, groups = column(values, group=150), RowGroups()
    found = [groups.cell((path, row // 150, "media"), row % 150, MOST) for row in range(300)]
    assert found == values
    assert len(opened) == 2
    assert not groups._held and not groups._cursors and groups._bytes == 0


def _interleaved(rows, threads=4, files=16):
    """The order in which threads that take files in batches ask for them."""
    batches = [list(range(start, min(start + files, rows))) for start in range(0, rows, files)]
    order, rng = [], random.Random(0)
    while any(batches[:threads]):
        batch = rng.choice([batch for batch in batches[:threads] if batch])
        order.append(batch.pop(0))
        if not batch:
            batches.remove(batch)
    return order


@pytest.mark.parametrize(("bytes_held", "most_opened"), [(1 << 20, 1), (3000, 40), (0, 80)])
def test_threads_may_ask_in_turns(column, opened, monkeypatch, bytes_held, most_opened):
    """What was passed is held; where it is too much, each thread has its own place: nothing is read for every row."""
    monkeypatch.setattr(cells, "BYTES_AT_ONCE", 1)  # a row at once
    values = noise(200)
    path, groups = column(values), RowGroups(bytes_held)
    order = _interleaved(200)
    assert order != sorted(order)
    assert {row: groups.cell((path, 0, "media"), row, MOST) for row in order} == dict(enumerate(values))
    assert len(opened) <= most_opened
    assert groups._bytes <= bytes_held


def test_real_threads_get_their_own_cells(column):
    """Several at once, in two row groups."""
    values = noise(400)
    path, groups = column(values, group=200), RowGroups(20_000)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: groups.cell((path, row // 200, "media"), row % 200, MOST), range(400)))
    assert found == values


def test_a_value_of_too_many_bytes_is_only_counted(column):
    """Null is None; what is beside them is read."""
    path, groups = column([b"x" * 100, None, b"y" * 10]), RowGroups()
    assert [groups.cell((path, 0, "media"), row, 50) for row in range(3)] == [100, None, b"y" * 10]


def test_what_was_passed_is_forgotten_two_row_groups_later(column):
    """Rows of which nobody wants the media, since their texts are refused."""
    path, groups = column(noise(40), group=10), RowGroups()
    for row_group in range(4):
        groups.cell((path, row_group, "media"), 7, MOST)
    assert {key[0][1] for key in groups._held} <= {2, 3}
    assert {cursor.group[1] for cursor in groups._cursors} <= {2, 3}


def test_a_row_group_is_not_held_as_a_whole(column):
    """60 MB of noise: a page is held, and some rows."""
    path = column(noise(60, 1_000_000), use_dictionary=False, write_batch_size=1)
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool := pa.proxy_memory_pool(before))
    try:
        groups = RowGroups()
        assert sum(len(groups.cell((path, 0, "media"), row, 2 << 20)) for row in range(60)) > 60_000_000
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 40 << 20


def test_a_dictionary_that_swells_is_not_unpacked(column):
    """A few KB that become 40 MB: every row is refused, the first look is remembered."""
    path = column([b"x" * (40 << 20)] * 2, compression="zstd")
    assert path.stat().st_size < 20_000
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool := pa.proxy_memory_pool(before))
    try:
        groups = RowGroups()
        for row in (0, 1, 0):
            with pytest.raises(MediaError, match="unpacks to 41943") as caught:
                groups.cell((path, 0, "media"), row, MOST)
            assert caught.value.reason == Reason.TOO_LARGE
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 8 << 20


def test_a_page_of_a_thousand_pictures_is_none_that_swells(column):
    """pyarrow puts the first 1024 values into one dictionary page, whatever they take."""
    values = noise(200, 200_000)
    path, groups = column(values), RowGroups()
    with path.open("rb") as file:
        assert max(page.uncompressed for page in pages_of(file, [_chunk(path)])) > 32 << 20
    assert [groups.cell((path, 0, "media"), row, MOST) for row in range(200)] == values


def test_a_damaged_column_is_found_damaged_once(column, opened):
    """What lies before the damage is read."""
    values = noise(50, 2000)
    path = column(values, use_dictionary=False, write_batch_size=1, data_page_size=1)
    data = bytearray(path.read_bytes())
    start = data.find(values[30])
    data[start - 12 : start] = b"\xff" * 12
    path.write_bytes(bytes(data))
    groups = RowGroups()
    problems = []
    for row in range(50):
        try:
            assert groups.cell((path, 0, "media"), row, MOST) == values[row]
        except cells.ARROW_ERRORS:
            problems.append(row)
    assert problems[-1] == 49 and len(opened) <= 2


def _chunk(path):
    return pq.read_metadata(path).row_group(0).column(0)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("size", [10, 3000])
def test_pages_are_those_that_the_footer_sums_up(column, compression, version, use_dictionary, size):
    """Together with their headers, which statistics of long values lengthen, they fill the column, in both measures."""
    values = [*noise(700, size), None, b""]
    options = {"compression": compression, "data_page_version": version, "use_dictionary": use_dictionary}
    path = column(values, **options, data_page_size=4000, write_batch_size=10)
    chunk = _chunk(path)
    with path.open("rb") as file:
        pages = pages_of(file, [chunk])
    headers = chunk.total_uncompressed_size - sum(page.uncompressed for page in pages)
    assert headers == chunk.total_compressed_size - sum(page.compressed for page in pages)
    assert 10 * len(pages) < headers
    assert len(pages) > 20 or (use_dictionary and len(pages) > 1)


@pytest.mark.parametrize(
    "header", [b"", b"\xff" * 600, b"\x15" + b"\x80" * 600, b"\x1c" * 40, b"\x15\x00\x15\x01\x15\x00\x00"]
)
def test_a_header_that_is_none_is_refused(column, header):
    """Cut, nested, endless, of sizes below nothing: never an endless look."""
    path = column(noise(3))
    chunk, data = _chunk(path), bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset
    path.write_bytes(data[:start] + header + data[start + len(header) :] if header else data[:start])
    with path.open("rb") as file, pytest.raises(ValueError, match="page header"):
        pages_of(file, [chunk])
