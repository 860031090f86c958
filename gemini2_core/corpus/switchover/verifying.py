"""Holding a new collection against what should be in it, before anybody is sent there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias, TypedDict, TypeVar

import numpy as np
import orjson

from gemini2_core.content import ContentLike
from gemini2_core.corpus.filling import unfilled_shards
from gemini2_core.corpus.item import Item
from gemini2_core.corpus.itself import refuse_itself
from gemini2_core.corpus.sources.points import point_content
from gemini2_core.corpus.switchover.seen import note_verification
from gemini2_core.corpus.switchover.side_by_side import (
    QueryVector,
    Search,
    collection_search,
    compare_queries,
    sized_for,
)
from gemini2_core.corpus.switchover.tally import Tally
from gemini2_core.corpus.switchover.verification import Difference, Verification
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index import MatryoshkaCollection, PointId, Record
from gemini2_core.index.ids import point_id
from gemini2_core.index.modalities import MODALITIES_KEY
from gemini2_core.model import Vectors, truncate

__all__ = ["averify", "verify"]

_PAGE = 256
_EXAMPLES = 5
_SNIPPET = 90
_BEGINNING = 4000

_T = TypeVar("_T")
_TextsOf: TypeAlias = Callable[[Sequence[PointId]], Mapping[str, str]]


class _Sampled(TypedDict):
    """The fields of a ``Verification`` that the sample fills."""

    sampled: int
    cosines: Mapping[int, float]
    differences: tuple[Difference, ...]


def verify(
    new: MatryoshkaCollection,
    *,
    source: Iterable[Item] | MatryoshkaCollection,
    embedder: Gemini2Embedder,
    sample: int = 100,
    queries: Sequence[ContentLike] = (),
    live: MatryoshkaCollection | Search | None = None,
    live_embedder: Gemini2Embedder | QueryVector | None = None,
    k: int = 10,
    seed: int = 0,
    tolerance: float = 1e-5,
    media_root: str | Path | None = None,
    show_progress: bool = False,
) -> Verification:
    """See whether a new collection is whole, and how its answers differ from the live one's.

    Every id of the source is looked for in the collection and every id of the collection in the
    source, on the disk, so memory stays the same whatever their number. A sample is drawn with
    ``seed``, embedded anew and compared with what is stored: each tier's vector, and the payload.
    Each tier has to be filled on every point. ``queries`` are asked of both collections; that
    their answers differ is told, and no reason not to pass. What it found is noted with the
    collection, so that ``switch`` knows of it in another process too.

    Args:
        new: The new collection.
        source: What should be in it, read now: the live collection where documents are written
            during the move, else the corpus that was embedded.
        embedder: The one that ``new`` was filled with, or one like it.
        sample: How many items are embedded anew; that is paid for. 0 for none.
        queries: Texts or contents, to be asked of both.
        live: What they are asked of beside ``new``: a collection, or any function that returns
            the ids of the ``k`` best for a query; the source, if that is a collection.
        live_embedder: What the live collection's vectors are of: an embedder, or any function
            that returns the vector of a query.
        k: How many results are compared.
        seed: What the sample is drawn with: the same seed and source, the same sample.
        tolerance: How far below 1 the cosine of a vector embedded anew and the stored one may be.
        media_root: The only folder that files named by LlamaIndex's nodes are read from, where
            the source is a collection.
        show_progress: Show bars.

    Raises:
        IndexMismatchError: The embedder's space isn't the collection's.
        ConfigurationError: Queries, and nothing to compare with; or the source is the collection
            itself, by an alias say.
        ServiceError: The embedding service or the database kept failing.
    """
    if sample < 0:
        raise ConfigurationError(f"sample={sample!r} must be 0 or more")
    refuse_itself(new, source, new.aliases())
    sized = sized_for(embedder, new)
    before = _live_search(live, live_embedder, source) if queries else None
    drawn = _Drawn(sample, random.Random(seed))
    root = None if media_root is None else Path(media_root).expanduser()
    items = _items(source, root) if isinstance(source, MatryoshkaCollection) else source
    with Tally() as ids:
        with _bar(show_progress, "reading the source", None) as bar:
            for some in _pages(items):
                ids.expect(item.id for item in some)
                drawn.look_at(some)
                bar.update(len(some))
        some_extra: list[PointId] = []
        points = 0
        with _bar(show_progress, "reading the collection", ids.expected) as bar:
            for records in _pages(new.scroll(page=_PAGE)):
                some_extra += ids.find(record.id for record in records)
                del some_extra[_EXAMPLES:]
                points += len(records)
                bar.update(len(records))
        found = Verification(
            collection=new.aliases().get(new.name, new.name),
            space=str(new.space),
            tiers=new.tiers,
            expected=ids.expected,
            points=points,
            repeated=ids.repeated,
            missing=ids.missing,
            extra=ids.extra,
            some_missing=tuple(ids.some_missing(_EXAMPLES)),
            some_extra=tuple(some_extra),
            unfilled={tier: n for tier in new.tiers if (n := new.unfilled(tier))},
            shards=tuple(unfilled_shards(new)),
            seed=seed,
            tolerance=tolerance,
            k=k,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            **_sampled(new, drawn.items, sized, tolerance),
            queries=()
            if before is None
            else tuple(
                compare_queries(queries, before, collection_search(new, sized), k, _texts_in(new))
            ),
        )
    note_verification(new, found)
    return found


async def averify(
    new: MatryoshkaCollection,
    *,
    source: Iterable[Item] | MatryoshkaCollection,
    embedder: Gemini2Embedder,
    sample: int = 100,
    queries: Sequence[ContentLike] = (),
    live: MatryoshkaCollection | Search | None = None,
    live_embedder: Gemini2Embedder | QueryVector | None = None,
    k: int = 10,
    seed: int = 0,
    tolerance: float = 1e-5,
    media_root: str | Path | None = None,
    show_progress: bool = False,
) -> Verification:
    """``verify`` in a thread of its own, for a running loop."""
    return await asyncio.to_thread(
        verify,
        new,
        source=source,
        embedder=embedder,
        sample=sample,
        queries=queries,
        live=live,
        live_embedder=live_embedder,
        k=k,
        seed=seed,
        tolerance=tolerance,
        media_root=media_root,
        show_progress=show_progress,
    )


# ---- the source


def _pages(given: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(given)
    while page := list(islice(rest, _PAGE)):
        yield page


def _items(collection: MatryoshkaCollection, root: Path | None) -> Iterator[Item]:
    """A collection's points as items, read as ``CollectionSource`` reads them."""
    for record in collection.scroll(page=_PAGE):
        try:
            content, title = point_content(
                record.payload, text_key=None, title_key="title", media_root=root
            )
        except InvalidInputError as error:
            raise InvalidInputError(
                f"point {record.id!r} of {collection.name!r}: {error} (a CollectionSource takes it)"
            ) from error
        yield Item(record.id, content, title, record.payload)


class _Drawn:
    """A sample of a stream: each item is in it with the same probability."""

    def __init__(self, size: int, chance: random.Random) -> None:
        self.items: list[Item] = []
        self._size = size
        self._chance = chance
        self._seen = 0

    def look_at(self, items: Iterable[Item]) -> None:
        for item in items:
            self._seen += 1
            if len(self.items) < self._size:
                self.items.append(item)
            elif (place := self._chance.randrange(self._seen)) < self._size:
                self.items[place] = item


# ---- the sample


def _sampled(
    new: MatryoshkaCollection, items: Sequence[Item], embedder: Gemini2Embedder, tolerance: float
) -> _Sampled:
    """The sample embedded anew, and how it differs; what is missing is counted elsewhere."""
    stored = {point_id(one.id): one for one in new.get(item.id for item in items)}
    there = [item for item in items if point_id(item.id) in stored]
    if not there:
        return {"sampled": 0, "cosines": {}, "differences": ()}
    anew = embedder.embed_contents(
        [item.content for item in there], titles=[item.title for item in there]
    ).vectors
    whats: dict[PointId, list[str]] = {}
    for item in there:
        if told := _payload_difference(item.payload, stored[point_id(item.id)].payload):
            whats.setdefault(item.id, []).append(told)
    lowest: dict[int, float] = {}
    for tier in new.tiers:
        cosines = _cosines(new, there, truncate(anew, tier), tier)
        lowest[tier] = min(cosines)
        for item, cosine in zip(there, cosines, strict=True):
            if not cosine >= 1 - tolerance:
                whats.setdefault(item.id, []).append(f"cosine {cosine:.6f} at tier {tier}")
    return {
        "sampled": len(there),
        "cosines": lowest,
        "differences": tuple(Difference(own, "; ".join(told)) for own, told in whats.items()),
    }


def _cosines(
    new: MatryoshkaCollection, items: Sequence[Item], anew: Vectors, tier: int
) -> list[float]:
    """Cosines of rows of unit length with what is stored; 0 where nothing is."""
    records = new.get((item.id for item in items), with_vectors=True, tier=tier)
    rows = {point_id(one.id): one.vector for one in records}
    cosines = []
    for item, row in zip(items, anew, strict=True):
        there = rows.get(point_id(item.id))
        norm = 0.0 if there is None else float(np.linalg.norm(there))
        cosines.append(float(row @ there) / norm if there is not None and norm else 0.0)
    return cosines


def _payload_difference(wanted: Mapping[str, object], stored: Mapping[str, object]) -> str:
    """What differs in words; what stores add themselves doesn't count."""
    try:
        plain = orjson.loads(orjson.dumps(dict(wanted), option=orjson.OPT_SERIALIZE_NUMPY))
    except TypeError as error:
        raise InvalidInputError(f"the payload isn't JSON: {error}") from error
    keys = sorted((plain.keys() | stored.keys()) - {MODALITIES_KEY})
    different = [key for key in keys if plain.get(key) != stored.get(key)]
    return f"payload field {', '.join(map(repr, different))}" if different else ""


# ---- queries


def _live_search(
    live: MatryoshkaCollection | Search | None,
    live_embedder: Gemini2Embedder | QueryVector | None,
    source: object,
) -> Search:
    found = source if live is None and isinstance(source, MatryoshkaCollection) else live
    if found is None:
        raise ConfigurationError("queries are compared with live=: a collection or a search")
    if not isinstance(found, MatryoshkaCollection):
        return found
    if live_embedder is None:
        raise ConfigurationError(
            f"collection {found.name!r} holds vectors of {found.space}: say with live_embedder= "
            "what embeds a query for it"
        )
    return collection_search(found, live_embedder)


def _texts_in(new: MatryoshkaCollection) -> _TextsOf:
    def texts(ids: Sequence[PointId]) -> dict[str, str]:
        return {str(one.id): _beginning(one) for one in new.get(ids)}

    return texts


def _beginning(record: Record) -> str:
    try:
        content, _ = point_content(record.payload, text_key=None, title_key=None, media_root=None)
    except InvalidInputError:
        return ""
    first = content[0] if isinstance(content, list) and content else content
    return " ".join(first[:_BEGINNING].split())[:_SNIPPET] if isinstance(first, str) else ""


# ---- showing how far it is


class _Bar(Protocol):
    def update(self, n: int) -> object: ...


class _NoBar:
    def update(self, n: int) -> None:
        pass


def _bar(show: bool, what: str, total: int | None) -> AbstractContextManager[_Bar]:
    if not show:
        return nullcontext(_NoBar())
    from tqdm.auto import tqdm

    bar: AbstractContextManager[_Bar] = tqdm(total=total, unit="point", desc=what)
    return bar
