"""An evaluation from end to end: files in, one embedding each, rankings, metrics, a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gemini2_core.embedding.progress import progress_bar
from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index.collection import MatryoshkaCollection
from gemini2_core.index.evaluation.beir import (
    BeirCorpus,
    Document,
    Qrels,
    read_qrels,
    read_queries,
)
from gemini2_core.index.evaluation.candidate import Candidate, Embedder, candidates
from gemini2_core.index.evaluation.engine import check_collection, engine_rankings, stored_vectors
from gemini2_core.index.evaluation.metrics import Scores, gains_of, measure
from gemini2_core.index.evaluation.ranking import Ranker, TieOrder
from gemini2_core.index.evaluation.report import EvaluationReport
from gemini2_core.index.evaluation.summary import Measured, summary
from gemini2_core.model import Vectors

__all__ = ["Corpus", "evaluate"]

Corpus = str | Path | Iterable[Document]
"""A ``corpus.jsonl``, or documents that can be read more than once."""

_AT_ONCE = 2048
_SHOWN = 3
_SHORTLISTS = (20, 50, 100, 200)


@dataclass(slots=True)
class _Data:
    """What is searched and what ought to be found."""

    order: TieOrder
    queries: dict[str, str]
    judged: list[dict[str, int]]
    notes: list[str]


def evaluate(
    embedder: Embedder,
    corpus: Corpus | None,
    queries: str | Path | Mapping[str, str],
    qrels: str | Path | Mapping[str, Mapping[str, int]],
    *,
    compare: Mapping[str, Embedder] | Sequence[Embedder] = (),
    collection: MatryoshkaCollection | None = None,
    tiers: Sequence[int] | None = None,
    shortlists: Sequence[int] = _SHORTLISTS,
    margin: float = 0.01,
    resamples: int = 10_000,
    seed: int = 0,
    show_progress: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> EvaluationReport:
    """Measure how well your own questions find your own documents, at each size.

    Each embedder embeds everything once, at its full size; the smaller sizes are cut from that,
    as the service itself does. Rankings are exact: cosine on float32, no graph and no int8
    (``collection`` adds what an engine makes of it). Nothing is sent before all files have been
    read and found to belong together. Give the embedder a ``cache``, and a second run, or one
    after an error, costs nothing for what is there.

    Args:
        embedder: A ``Gemini2Embedder(dimensions=3072)``, or anything with its ``model``,
            ``dimensions``, ``embed_queries`` and ``embed_documents``.
        corpus: BEIR's ``corpus.jsonl``, or documents that can be read more than once. None
            takes the documents that are in ``collection``.
        queries: BEIR's ``queries.jsonl``, or text by id. Those without judgements are left out.
        qrels: BEIR's ``qrels.tsv``, or grade by document id by query id; from 1 on relevant.
        compare: Other embedders to put beside it: another model, another task, another vendor;
            by name, or named after their models.
        collection: Holds the same documents under the same ids, in the embedder's space. Its
            vectors are used instead of embedding them again, and the engine's own searches are
            measured as well.
        tiers: Sizes to measure; None for the model's own up to ``embedder.dimensions``.
        shortlists: What the smallest size hands on to the largest in two passes.
        margin: The smallest gain of nDCG@10 that would pay for a larger size; 0.01 is a point.
        resamples: How often the bootstrap draws the queries.
        seed: The same seed draws the same.
        show_progress: Show a progress bar.
        on_progress: Called with documents done and documents in all.

    Returns:
        The report: table, plot, storage, cost, and whether more than the smallest size pays.

    Raises:
        InvalidInputError: A file that can't be read (its line is named), or files that don't
            belong together.
        ConfigurationError: Sizes the embedder can't give, no documents at all.
        IndexMismatchError: The collection is of another space.
        ServiceError: Embedding failed; what a cache holds isn't paid again.
    """
    begun = time.monotonic()
    others = candidates(embedder, compare, tiers)
    if any(length < 1 for length in shortlists) or resamples < 1:
        raise ConfigurationError(
            f"shortlists={list(shortlists)} and resamples={resamples} must be 1 or more"
        )
    if not 0 <= margin < math.inf or seed < 0:
        raise ConfigurationError(f"margin={margin} and seed={seed} must be 0 or more")
    if collection is not None:
        check_collection(collection, others[0])
    if corpus is None and (collection is None or len(others) > 1):
        raise ConfigurationError(
            "corpus=None takes the documents' vectors from collection=, which has none for the "
            "embedders of compare="
            if collection
            else "give corpus= or collection="
        )
    source = BeirCorpus(corpus) if isinstance(corpus, str | Path) else corpus
    if isinstance(source, Iterator):
        raise ConfigurationError("corpus is read more than once: give a list, not an iterator")
    data = _read(source, collection, queries, qrels, others)
    measured: list[Measured] = []
    todo = len(data.order) * len(others)
    with progress_bar(show_progress, on_progress) as tell:
        for place, one in enumerate(others):
            asked = one.embed_queries(data.queries)
            ranker = Ranker(asked, one.tiers, shortlists, data.order)
            stored = collection if place == 0 else None
            done = place * len(data.order)
            for ids, vectors in _vectors(one, source, stored):
                ranker.add(ids, vectors)
                done += len(ids)
                if tell is not None:
                    tell(done, todo)
            measured += _exact(one, ranker, shortlists, data)
            if stored is not None:
                measured += [
                    Measured(one, search, stored.tiers, shortlist, _scores(ids, data), milliseconds)
                    for search, shortlist, ids, milliseconds in engine_rankings(
                        stored, asked, shortlists
                    )
                ]
    return summary(
        measured,
        queries=tuple(data.queries),
        documents=len(data.order),
        notes=data.notes,
        margin=margin,
        resamples=resamples,
        seed=seed,
        begun=begun,
    )


def _read(
    corpus: Iterable[Document] | None,
    collection: MatryoshkaCollection | None,
    queries: str | Path | Mapping[str, str],
    qrels: str | Path | Mapping[str, Mapping[str, int]],
    others: Sequence[Candidate],
) -> _Data:
    """Read everything once, so that what doesn't belong together fails before it costs."""
    judged: Qrels = (
        read_qrels(qrels)
        if isinstance(qrels, str | Path)
        else {query: dict(grades) for query, grades in qrels.items()}
    )
    texts = read_queries(queries) if isinstance(queries, str | Path) else dict(queries)
    notes: list[str] = []
    missing = [query for query in judged if query not in texts]
    if missing:
        raise InvalidInputError(
            f"{len(missing)} judged queries aren't among the queries, such as "
            f"{_some(missing)}: do these files belong together?"
        )
    wanted = {
        query: grades for query, grades in judged.items() if any(g > 0 for g in grades.values())
    }
    if len(wanted) < len(judged):
        notes.append(f"{len(judged) - len(wanted):,} queries without a relevant document left out")
    if not wanted:
        raise InvalidInputError("no query has a relevant document: there is nothing to measure")
    for query in wanted:
        if not texts[query].strip():
            raise InvalidInputError(f"query {query!r} has no text")
    ids, empty = _ids(corpus, collection, others)
    if empty:
        notes.append(f"{empty:,} documents without text left out: they can't be found")
    if len(set(ids)) < len(ids) or not ids:
        raise InvalidInputError(
            "two documents have one id" if ids else "there are no documents to search"
        )
    order = TieOrder(ids)
    there = set(ids)
    lost = {doc for grades in wanted.values() for doc in grades if grades[doc] > 0} - there
    if lost and not any(d in there for grades in wanted.values() for d in grades if grades[d] > 0):
        raise InvalidInputError(
            f"no relevant document, such as {_some(sorted(lost))}, is in the corpus: do these "
            "files belong together?"
        )
    if lost:
        notes.append(
            f"{len(lost):,} relevant documents aren't in the corpus and count as not found, such "
            f"as {_some(sorted(lost))}"
        )
    for one in others:
        one.count_queries([texts[query] for query in wanted])
    return _Data(order, {query: texts[query] for query in wanted}, list(wanted.values()), notes)


def _ids(
    corpus: Iterable[Document] | None,
    collection: MatryoshkaCollection | None,
    others: Sequence[Candidate],
) -> tuple[list[str], int]:
    """Ids of all documents that can be embedded, and how many can't; their tokens are counted."""
    if corpus is None:
        assert collection is not None
        return [str(record.id) for record in collection.scroll()], 0
    ids, empty = [], 0
    for document in corpus:
        if not _embeddable(document):
            empty += 1
            continue
        ids.append(document.id)
        for one in others:
            one.count_document(document)
    return ids, empty


def _embeddable(document: Document) -> bool:
    return bool(document.text.strip() or document.title.strip())


def _vectors(
    one: Candidate, corpus: Iterable[Document] | None, collection: MatryoshkaCollection | None
) -> Iterator[tuple[list[str], Vectors]]:
    """Ids and vectors of all documents, some at a time."""
    if collection is not None:
        yield from stored_vectors(collection, _AT_ONCE)
        return
    assert corpus is not None
    documents = (document for document in corpus if _embeddable(document))
    while some := list(islice(documents, _AT_ONCE)):
        yield [document.id for document in some], one.embed_documents(some)


def _exact(
    one: Candidate, ranker: Ranker, shortlists: Sequence[int], data: _Data
) -> Iterator[Measured]:
    for tier in one.tiers:
        scores = _scores(ranker.one_pass(tier), data)
        yield Measured(one, str(tier), (tier,), None, scores)
    small, large = one.tiers[0], one.tiers[-1]
    for shortlist in shortlists if small < large else ():
        scores = _scores(ranker.two_passes(shortlist), data)
        search = f"{small} → {large}, short list {shortlist}"
        yield Measured(one, search, (small, large), shortlist, scores)


def _scores(ranked: Sequence[Sequence[str]], data: _Data) -> dict[str, Scores]:
    return measure(gains_of(ranked, data.judged), data.judged)


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(map(repr, ids[:_SHOWN]))
    return shown + (" …" if len(ids) > _SHOWN else "")
