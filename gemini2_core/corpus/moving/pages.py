"""A source read page by page: what each item is, and what must be done with it by a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

import orjson

from gemini2_core.content import Content, Media
from gemini2_core.corpus.item import Item
from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.corpus.moving.marks import Fate, Mark, item_key
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.errors import Gemini2Error, InvalidInputError
from gemini2_core.index import Payload, PointId
from gemini2_core.model import Modality

__all__ = ["Entry", "Ledger", "Page", "read_pages", "reason"]

_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS


class Ledger(Protocol):
    """Who knows what became of items before: a checkpoint."""

    def read(self, marks: Sequence[Mark]) -> list[Fate]:
        """What has to be done with each of them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item that something has to be done with.

    Attributes:
        id: Its id, as the source gave it.
        mark: What tells this version of it from others.
        content: What is embedded, its title in it.
        payload: What is stored beside its vectors.
        tokens: What embedding it takes, by our own count.
    """

    id: PointId
    mark: Mark
    content: Content
    payload: Payload
    tokens: Mapping[Modality, int]

    @property
    def words(self) -> str:
        """Its texts, for a hybrid collection."""
        return "\n\n".join(self.content.texts)


@dataclass(slots=True)
class Page:
    """Some items of a source, in order.

    Attributes:
        read: How many there were.
        entries: Those to embed and store.
        moved_on: Those of which only the payload is to be stored.
        failures: Those that can't be embedded, by key.
        unchanged: How many are stored as they are.
        changed: How many of ``entries`` were stored with another content.
        repeated: How many had an id that came before.
    """

    read: int = 0
    entries: list[Entry] = field(default_factory=list)
    moved_on: list[Entry] = field(default_factory=list)
    failures: list[tuple[bytes, Failure]] = field(default_factory=list)
    unchanged: int = 0
    changed: int = 0
    repeated: int = 0


def read_pages(
    items: Iterable[Item], embedder: Gemini2Embedder, ledger: Ledger, size: int
) -> Generator[Page, None, None]:
    """Pages of a source, each looked up in the ledger when it is read.

    Args:
        items: The source.
        embedder: Who will embed them; nothing is sent.
        ledger: Who knows what is stored.
        size: Items of a page.
    """
    reading = iter(items)
    while some := list(islice(reading, size)):
        yield _page(some, embedder, ledger)


def _page(items: Sequence[Item], embedder: Gemini2Embedder, ledger: Ledger) -> Page:
    marks: dict[int, Mark] = {}
    contents: dict[int, Content] = {}
    failed: dict[int, Failure] = {}
    for place, item in enumerate(items):
        try:
            key = item_key(item.id)
            # One that can't even be read is met all the same: it isn't gone from the source.
            marks[place] = Mark(key, b"", b"")
            contents[place] = embedder.read_document(item.content, item.title)
            marks[place] = Mark(
                key, _content_digest(contents[place]), _payload_digest(item.payload)
            )
        except (Gemini2Error, OSError) as error:
            failed[place] = Failure(_told(item.id), reason(error))
    fates = dict(zip(marks, ledger.read(list(marks.values())), strict=True))
    page = Page(read=len(items))
    for place, fate in fates.items():
        item, mark = items[place], marks[place]
        if place in failed:
            continue
        if fate is Fate.UNCHANGED:
            page.unchanged += 1
        elif fate is Fate.REPEATED:
            page.repeated += 1
        else:
            try:
                content = contents[place]
                tokens = embedder.document_tokens(content)
            except (Gemini2Error, OSError) as error:
                failed[place] = Failure(item.id, reason(error))
                continue
            page.changed += fate is Fate.CHANGED
            kind = page.moved_on if fate is Fate.MOVED_ON else page.entries
            kind.append(Entry(item.id, mark, content, item.payload, tokens))
    page.failures = [
        (marks[place].key if place in marks else b"", failed[place]) for place in sorted(failed)
    ]
    return page


def reason(error: Exception) -> str:
    """Why an item can't be embedded, without its place in a call that the reader doesn't know."""
    if isinstance(error, Gemini2Error):
        return error.message.removeprefix(f"input {error.index}: ")
    return str(error)


def _told(own: object) -> PointId:
    """An id as it can be told, whatever the source took for one."""
    return own if isinstance(own, int | str) else repr(own)


def _content_digest(content: Content) -> bytes:
    """The same for the same title, texts and media, on every machine; media are read."""
    digest = hashlib.blake2b(digest_size=16)
    marks = (f"={one}" if isinstance(one, str) else _media_mark(one) for one in content.parts)
    for told in (content.title or "", *marks):
        data = told.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    return digest.digest()


def _media_mark(media: Media) -> str:
    if media.by_service or media.remote:
        what = str(media.source)
    else:
        # Of the whole file: cutting a span out of a film only to know it would take longer.
        what = (replace(media, fragment=None, digest=None) if media.fragment else media).sha256()
    return f"@{what}|{media.mime_type}|{media.fragment or ''}"


def _payload_digest(payload: Payload) -> bytes:
    try:
        told = orjson.dumps(payload, option=_JSON)
    except TypeError as error:
        raise InvalidInputError(f"the payload isn't JSON: {error}") from error
    return hashlib.blake2b(told, digest_size=8).digest()
