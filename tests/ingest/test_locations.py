from __future__ import annotations

import socket
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from multimodal.dataset import Dataset
from multimodal.errors import SourceError, UnreachableError
from multimodal.ingest import ingest, plan_ingest
from multimodal.ingest.locations import RemotePath, files_under, join, location, relative_name
from multimodal.ingest.options import IngestOptions, SourceOptions
from multimodal.ingest.readers import open_reader


@pytest.fixture
def remote():
    """A folder of its own on fsspec's file system in memory."""
    root = f"memory://{uuid.uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def put(url, data):
    with fsspec.open(url, "wb") as file:
        file.write(data)


def test_urls_are_told_from_paths():
    """file:// is a local path; anything else with :// is remote; options store both as text."""
    assert location("a/b.csv") == Path("a/b.csv")
    assert location("file:///a/b.csv") == Path("/a/b.csv")
    assert location("s3://bucket/b.csv") == RemotePath("s3://bucket/b.csv")
    source = SourceOptions(name="s", path="s3://bucket/b.csv", task="infill", media_root="x")
    assert source.model_dump(mode="json")["path"] == "s3://bucket/b.csv"
    assert source.model_dump(mode="json")["media_root"] == "x"
    assert join(Path("a"), "s3://b/c.jpg") == RemotePath("s3://b/c.jpg")


def test_a_url_has_the_parts_of_a_path():
    """Names, suffixes and parents, in chained URLs too."""
    path = RemotePath("s3://bucket/a/b.tar")
    assert (path.name, path.stem, path.suffix, str(path.parent)) == ("b.tar", "b", ".tar", "s3://bucket/a")
    assert str(path.with_suffix(".txt")) == "s3://bucket/a/b.txt"
    assert str(path.parent / "c.csv") == "s3://bucket/a/c.csv"
    inner = RemotePath("zip://a/b.csv::s3://bucket/x.zip")
    assert inner.name == "b.csv" and str(inner.parent / "c") == "zip://a/c::s3://bucket/x.zip"
    assert relative_name(path, path.parent) == "b.tar"


def test_files_of_a_remote_folder_are_those_of_a_local_one(remote, tmp_path):
    """The same names in the same order."""
    for name in ("b/2.txt", "a.txt", ".hidden", "b/1.txt"):
        put(f"{remote}/{name}", b"x")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = [
        [relative_name(file, root) for file in files_under(root)] for root in (RemotePath(remote), tmp_path)
    ]  # fmt: skip
    assert names[0] == names[1] == ["a.txt", "b/1.txt", "b/2.txt"]


def test_remote_and_local_sources_give_the_same_dataset(remote, tmp_path, tar, picture):
    """Shards, Parquet, a manifest with its media, and sidecars: the same samples from memory:// as from disk."""
    media = pa.table({"image": [picture(n) for n in (1, 2)], "text": ["one", "two"]})
    sink = pa.BufferOutputStream()
    pq.write_table(media, sink)
    files = {
        "shards/0.tar": tar(
            [("1.jpg", picture(3)), ("1.txt", b"three"), ("2.jpg", picture(4)[:400]), ("2.txt", b"cut")]
        ),
        "table/train.parquet": sink.getvalue().to_pybytes(),
        "list/m.csv": b"path,text\np.jpg,four\nno.jpg,five\n",
        "list/p.jpg": picture(5),
        "folder/a.jpg": picture(6),
        "folder/a.json": b'{"text": ["six", "seven"]}',
    }
    for name, data in files.items():
        put(f"{remote}/{name}", data)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    paths = ("shards", "table", "list/m.csv", "folder")
    found = []
    for root in (remote, str(tmp_path)):
        sources = [{"name": f"s{n}", "path": f"{root}/{path}", "task": "caption"} for n, path in enumerate(paths)]
        options = IngestOptions(sources=sources)
        info = ingest(options, seed=0, workspace=tmp_path / "w" / root[-4:])
        found.append((info.counts, info.digest, plan_ingest(options, 0)["inputs"]))
        assert len(list(Dataset(info.path).contents())) == 5
    assert found[0] == found[1]
    assert (found[0][0].kept, found[0][0].quarantined) == (6, 2)


class FlakySystem(MemoryFileSystem):
    """Answers so many reads of bytes, then loses its connection."""

    protocol, left = "flaky", 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        return self._answer(super().cat_file, path, start=start, end=end)

    def _open(self, path, mode="rb", **kwargs):
        return self._answer(super()._open, path, mode) if mode == "rb" else super()._open(path, mode, **kwargs)

    def _answer(self, read, *args, **options):
        type(self).left -= 1
        if type(self).left < 0:
            raise ConnectionResetError("lost")
        return read(*args, **options)


@pytest.mark.parametrize("kind", ["parquet", "tar", "csv"])
def test_a_lost_connection_is_no_rows_fate(remote, tmp_path, tar, picture, kind):
    """Wherever it is lost, the ingest stops and may be tried again: no row is quarantined for it."""
    fsspec.register_implementation("flaky", FlakySystem, clobber=True)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": [picture(1)], "text": ["one"]}), sink)
    put(f"{remote}/m.parquet", sink.getvalue().to_pybytes())
    put(f"{remote}/m.tar", tar([("1.jpg", picture(1)), ("1.txt", b"one")]))
    put(f"{remote}/m.csv", b"image,text\n1.jpg,one\n")
    put(f"{remote}/1.jpg", picture(1))
    source = {"name": "s", "path": f"{remote}/m.{kind}".replace("memory", "flaky"), "task": "caption"}
    options = IngestOptions(sources=[source | ({} if kind == "tar" else {"columns": {"path": "image"}})])
    lost = 0
    for FlakySystem.left in range(100):
        try:
            info = ingest(options, seed=0, workspace=tmp_path / "w")
            break
        except UnreachableError as error:
            assert isinstance(error, OSError) and "flaky://" in str(error)
            lost += 1
    assert (info.counts.kept, info.counts.quarantined) == (1, 0)
    assert lost > 5


def test_what_is_not_there_is_refused(remote):
    """A missing remote file, and a file system that is unknown, are refused before any work."""
    with pytest.raises(SourceError, match="nothing at memory"):
        open_reader(SourceOptions(name="s", path=f"{remote}/no.csv", task="infill"))
    put(f"{remote}/keep", b"")
    with pytest.raises(SourceError, match=r"no file system for nosuch://x.*multimodal\[remote\]"):
        open_reader(SourceOptions(name="s", path="nosuch://x/m.csv", task="infill"))


@pytest.fixture
def server():
    """`server(status, data)`: URL of a server on localhost that answers every request so."""
    running = []

    def start(status, data=b""):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


def of_two_rows(tmp_path, picture, url):
    (tmp_path / "a.jpg").write_bytes(picture())
    (tmp_path / "m.csv").write_text(f"path,text\na.jpg,one\n{url},two\n")
    return IngestOptions(sources=[{"name": "s", "path": tmp_path / "m.csv", "task": "caption"}])


@pytest.mark.parametrize("url", ["nosuch://x.jpg", "github://x.jpg", "zip://a.jpg::nosuch://x.zip"])
def test_a_file_system_that_nobody_knows_costs_the_row(tmp_path, picture, url):
    """A typing error in one row is that row's."""
    info = ingest(of_two_rows(tmp_path, picture, url), seed=0, workspace=tmp_path / "w")
    assert (info.counts.kept, info.by_reason) == (1, {"missing_file": 1})


@pytest.mark.parametrize("status", [503, 500, 429, 401])
def test_a_server_that_does_not_answer_is_no_rows_fate(tmp_path, picture, server, status):
    """fsspec calls a file missing whatever a server answers; what it does not say of the file stops the run."""
    options = of_two_rows(tmp_path, picture, f"{server(status)}/x.jpg")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        ingest(options, seed=0, workspace=tmp_path / "w")
    with pytest.raises(UnreachableError):
        open_reader(SourceOptions(name="s", path=f"{server(status)}/m.csv", task="infill"))


def test_a_server_that_refuses_the_connection_is_no_rows_fate(tmp_path, picture):
    """Nothing listens at the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x.jpg"
        with pytest.raises(UnreachableError, match="cannot be reached"):
            ingest(of_two_rows(tmp_path, picture, url), seed=0, workspace=tmp_path / "w")


@pytest.mark.parametrize(("status", "reasons"), [(404, {"missing_file": 1}), (410, {"missing_file": 1}), (200, {})])
def test_what_a_server_says_of_a_file_is_the_rows_fate(tmp_path, picture, server, status, reasons):
    """It is not there, or it is."""
    options = of_two_rows(tmp_path, picture, f"{server(status, picture(1))}/x.jpg")
    info = ingest(options, seed=0, workspace=tmp_path / "w")
    assert (info.counts.rows, info.by_reason) == (2, reasons)
