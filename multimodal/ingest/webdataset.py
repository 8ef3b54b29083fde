"""WebDataset shards as a source: tar files in which the members of one sample follow each other under one key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from multimodal.errors import SourceError
from multimodal.ingest.locations import Location, files_under, read_range, relative_name
from multimodal.ingest.reader import Reader, Row
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import ArchiveMember
from multimodal.ingest.sidecars import JSON_SUFFIX, MOST_SIDECAR_BYTES, TEXT_SUFFIX, Sidecars
from multimodal.ingest.split_names import split_word
from multimodal.ingest.tar_members import Damage, Member, tar_members
from multimodal.sample import Modality

SHARD = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
MEDIA_EXTENSIONS = {
    Modality.IMAGE: ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    Modality.AUDIO: ("wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff"),
    Modality.TEXT: (),
}


@dataclass(slots=True)
class _Group:
    """The members that share a key: `a/0001` of `a/0001.jpg`, `a/0001.txt`, `a/0001.json`."""

    key: str
    members: dict[str, ArchiveMember] = field(default_factory=dict)
    reason: Reason | None = None
    detail: str = ""

    def add(self, member: Member) -> None:
        """Note a member under its extension, or what is wrong with it."""
        extension = _key_and_extension(member.ref.name)[1]
        if member.problem:
            self.reason, self.detail = Reason.UNSAFE_NAME, member.problem
        elif extension in self.members:
            self.reason, self.detail = Reason.INVALID_ROW, f"two members '{self.key}.{extension}'"
        self.members.setdefault(extension, member.ref)


class WebDatasetReader(Reader):
    """A folder of `.tar` shards, or one shard. A key's picture or sound has its text in `.txt` (a caption per line) or `.json`.

    `columns: {path: <extension>}` chooses between several media of one key, `columns: {text: caption}` names a key of
    the JSON. Members of other kinds, pickles among them, are never opened. The split is in the shard's name
    (`train-000.tar`, `val/000.tar`), where it is anywhere; `split` in a row's JSON goes before it.
    """  # noqa: E501

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A tar file, or a folder that holds some."""
        return any(name.endswith((SHARD, *COMPRESSED)) for name in names or [path.name])

    @property
    def media_root(self) -> Location:
        """The folder of the shards."""
        return self.source.path if self.source.path.is_dir() else self.source.path.parent

    def check(self) -> None:
        """There must be shards, and none may be compressed: a place in a compressed file cannot be read alone."""
        named = files_under(self.source.path) if self.source.path.is_dir() else [self.source.path]
        packed = next((file for file in named if file.name.endswith(COMPRESSED)), None)
        if packed is not None:
            raise SourceError(
                f"source '{self.source.name}': {packed} is compressed; unpack it to .tar (gunzip {packed.name}): "
                "pictures and sounds gain nothing from it"
            )
        if not self._shards:
            raise SourceError(f"source '{self.source.name}': no {SHARD} shards in {self.source.path}")

    def text_files(self) -> list[Location]:
        """The shards."""
        return self._shards

    @cached_property
    def _shards(self) -> list[Location]:
        return files_under(self.source.path, SHARD) if self.source.path.is_dir() else [self.source.path]

    def _all_rows(self) -> Iterator[Row]:
        for shard in self._shards:
            name = relative_name(shard, self.media_root)
            for found in _groups(tar_members(shard)):
                if isinstance(found, Damage):
                    yield Row(f"{name}#{found.offset}", {}, {}, Reason.INVALID_ARCHIVE, found.detail)
                else:
                    yield from self._rows_of(name, found)

    def _rows_of(self, shard: str, group: _Group) -> Iterator[Row]:
        media, sidecars = self._media(group), self._sidecars(group)
        first = media or next(iter(group.members.values()))
        uri = f"{shard}#{first.offset}"
        problem = (group.reason, group.detail) if group.reason else self._problem(group, media, sidecars)
        if problem is not None:
            yield Row(uri, {}, {}, *problem)
            return
        text, json = (None if ref is None else read_range(ref.file, ref.offset, ref.size) for ref in sidecars)
        values = {"split": split_word(shard)} | ({"path": media.name} if media else {})
        bare = Row(uri, {name: value for name, value in values.items() if value}, {"key": group.key}, media=media)
        yield from Sidecars(text, json).rows(bare, self.source.columns)

    def _media(self, group: _Group) -> ArchiveMember | None:
        """The member of the task's modality; a plain extension goes before a longer one (`jpg` before `mask.png`)."""
        chosen = self.source.columns.get("path")
        if chosen is not None:
            return group.members.get(chosen.lstrip(".").lower())
        known = MEDIA_EXTENSIONS[self.source.task.modality]
        fitting = [name for name in group.members if name.rpartition(".")[2] in known]
        return group.members[min(fitting, key=lambda name: name.count("."))] if fitting else None

    def _sidecars(self, group: _Group) -> tuple[ArchiveMember | None, ArchiveMember | None]:
        """The members with the text and with the JSON object."""
        return group.members.get(TEXT_SUFFIX[1:]), group.members.get(JSON_SUFFIX[1:])

    def _problem(
        self, group: _Group, media: ArchiveMember | None, sidecars: Iterable[ArchiveMember | None]
    ) -> tuple[Reason, str] | None:
        held = ", ".join(f".{name}" for name in group.members)
        if media is None and self.source.task.modality is not Modality.TEXT:
            return Reason.MISSING_FILE, f"no {self.source.task.modality} under the key '{group.key}', only {held}"
        if not any(sidecars):
            return Reason.EMPTY_TEXT, f"neither .txt nor .json under the key '{group.key}', only {held}"
        too_long = next((ref for ref in sidecars if ref is not None and ref.size > MOST_SIDECAR_BYTES), None)
        return (Reason.TEXT_TOO_LONG, f"{too_long.name} has {too_long.size} bytes") if too_long else None


def _groups(members: Iterable[Member | Damage]) -> Iterator[_Group | Damage]:
    """Members that follow each other under one key."""

    def key_of(found: Member | Damage) -> str | None:
        return None if isinstance(found, Damage) else _key_and_extension(found.ref.name)[0]

    for key, found in groupby(members, key_of):
        group = _Group(key or "")
        for one in found:
            if isinstance(one, Damage):
                yield one
            else:
                group.add(one)
        if group.members:
            yield group


def _key_and_extension(name: str) -> tuple[str, str]:
    """`a.b/0001.Seg.png` is (`a.b/0001`, `seg.png`): the key ends at the first dot of the last part."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension.lower()
