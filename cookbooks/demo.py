"""One small corpus through both frameworks: text, pictures, sound, film and PDF pages, searched.

Each framework keeps all of it in one Matryoshka index: what is embedded once is searched with 768
numbers, and the short list re-scored with 3072.

``make demo`` runs it on the emulator, whose vectors are hashed words and not the model's.
``make demo ARGS=--live`` runs it on the service, with the key in ``GEMINI_API_KEY``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from gemini2_core.embedding import Usage
from gemini2_core.emulator import serve
from gemini2_core.errors import Gemini2Error
from gemini2_core.model import Modality

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
QUERIES = HERE / "queries"

Kind = Literal["section", "picture", "sound", "film", "page"]
KINDS: dict[str, Kind] = {
    "image": "picture",
    "audio": "sound",
    "video": "film",
    "application": "page",
}
ASKED_WITH: dict[str, Kind] = {".png": "picture", ".wav": "sound"}


# ---------------------------------------------------------------- what is embedded


def chapters() -> list[Path]:
    """The manual's chapters: Markdown that links its figures, recordings and pages."""
    return sorted(CORPUS.glob("28-*.md"))


def label(metadata: Mapping[str, Any]) -> dict[str, str] | None:
    """Kind and name of a chunk; None for one that is left out.

    The splitters give each section with its media, and then its parts. Of the parts only the media
    are kept, each with a vector of its own: the text is in its section already.
    """
    media = json.loads(metadata.get("media", "[]"))
    if "parent_id" not in metadata:
        return {"kind": "section", "name": metadata["headings"].rpartition(" > ")[2]}
    if not media:
        return None
    return {"kind": KINDS[media[0]["mime_type"].partition("/")[0]], "name": media[0]["reference"]}


# ---------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True)
class Query:
    """A question in words, a picture or a sound; ``best`` must come out first."""

    ask: str | Path
    kind: Kind | None  # look only among these; None looks everywhere
    best: str

    @property
    def way(self) -> str:
        """What goes in and what is wanted: ``text → picture``."""
        given = ASKED_WITH[self.ask.suffix] if isinstance(self.ask, Path) else "text"
        wanted = {"section": "text", None: "anything"}.get(self.kind, self.kind)
        return f"{given} → {wanted}"

    def __str__(self) -> str:
        return f"[{self.ask.name}]" if isinstance(self.ask, Path) else self.ask


ASKED = (
    Query("exploded view of the fuel pump", "picture", "figures/fuel-pump.png"),
    Query("how is the low pressure lamp wired?", "picture", "figures/wiring.png"),
    Query(QUERIES / "gauge-photo.png", "section", "28-40-01 Fuel pressure gauge"),
    Query(
        QUERIES / "engine-recording.wav",
        "section",
        "28-90-01 Engine runs rough or misfires at idle",
    ),
    Query(QUERIES / "engine-recording.wav", "sound", "sounds/misfire.wav"),
    Query("parts list with part numbers", "page", "SB-28-07.pdf#page=2"),
    Query("the needle quivers, then falls", None, "clips/needle-falls.mp4"),
    Query("how does the warning horn sound?", None, "sounds/low-pressure-horn.wav"),
    Query(
        "torque for the pump's cover screws?",
        "section",
        "28-20-02 Engine-driven fuel pump: overhaul, torque",
    ),
    Query("can I use car fuel with ethanol?", "section", "28-00-03 Approved fuel"),
)
HITS = 2
TIERS = (768, 3072)
SOURCES = {False: "emulator", True: "service"}


@dataclass(frozen=True, slots=True)
class Hit:
    """One row of an answer; the scores of both passes are cosines, from -1 to 1."""

    first: float
    score: float
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one framework found, and what it used."""

    title: str
    counts: Counter[str]  # of each kind
    embedded: int  # items that were embedded to store them
    where: str
    seconds: float
    answers: Sequence[tuple[Query, Sequence[Hit]]]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Service:
    """Where the vectors come from, and where they are kept."""

    api_key: str
    base_url: str | None  # None is Google's
    folder: Path | None  # None keeps them in memory
    counted: Callable[[], int] | None  # items that the emulator was asked for

    def place(self, framework: str) -> dict[str, Any]:
        """The store's address: a folder of its own, or memory."""
        return {} if self.folder is None else {"path": self.folder / framework}

    def items(self, usage: Usage) -> int:
        """Items embedded so far: as the emulator counts them, or else as the library does."""
        return usage.items if self.counted is None else self.counted()


# ---------------------------------------------------------------- LangChain


def with_langchain(service: Service) -> Outcome:
    """The store embeds the documents, searches with words, pictures and sounds, and filters."""
    from pydantic import SecretStr

    from langchain_gemini2 import Gemini2Embeddings, MatryoshkaVectorStore, MultimodalSplitter

    embeddings = Gemini2Embeddings(
        api_key=SecretStr(service.api_key), base_url=service.base_url, media_root=CORPUS
    )
    splitter = MultimodalSplitter(media_root=CORPUS, granularity="both")
    with MatryoshkaVectorStore(
        embeddings, "manual", tiers=TIERS, **service.place("langchain")
    ) as store:
        begun, before = time.perf_counter(), service.items(embeddings.usage)
        documents = []
        for document in splitter.create_documents(chapters()):
            if labels := label(document.metadata):
                document.metadata |= labels
                documents.append(document)
        store.add_documents(documents)
        seconds = time.perf_counter() - begun
        embedded = service.items(embeddings.usage) - before

        def search(query: Query) -> list[Hit]:
            hits = store.hits(
                query.ask, k=HITS, filter={"kind": query.kind} if query.kind else None
            )
            return [found(hit.first_score, hit.score, hit.payload["metadata"]) for hit in hits]

        answers = [(query, search(query)) for query in ASKED]
    return Outcome(
        title="LangChain",
        counts=Counter(document.metadata["kind"] for document in documents),
        embedded=embedded,
        where="memory" if service.folder is None else "a folder",
        seconds=seconds,
        answers=answers,
        usage=embeddings.usage,
    )


def found(first: float | None, score: float | None, metadata: object) -> Hit:
    """A row of what a search returned."""
    assert isinstance(metadata, Mapping)
    return Hit(first or 0.0, score or 0.0, metadata["kind"], metadata["name"])


# ---------------------------------------------------------------- LlamaIndex


def with_llama_index(service: Service) -> Outcome:
    """A ``VectorStoreIndex`` over the store; its model makes the largest tier."""
    from llama_index.core import StorageContext, VectorStoreIndex

    from llama_index_gemini2 import (
        Gemini2Embedding,
        MatryoshkaRetriever,
        MatryoshkaVectorStore,
        MultimodalNodeParser,
        file_document,
    )

    embed_model = Gemini2Embedding(
        api_key=service.api_key,
        base_url=service.base_url,
        dimensions=max(TIERS),
        media_root=CORPUS,
    )
    store = MatryoshkaVectorStore(
        embed_model, "manual", tiers=TIERS, **service.place("llama_index")
    )
    parser = MultimodalNodeParser(media_root=CORPUS, granularity="both")
    begun, before = time.perf_counter(), service.items(embed_model.usage)
    nodes = []
    for node in parser.get_nodes_from_documents([file_document(path) for path in chapters()]):
        if labels := label(node.metadata):
            node.metadata |= labels
            node.excluded_embed_metadata_keys += list(labels)  # to filter by and to show
            nodes.append(node)
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=embed_model)
    seconds = time.perf_counter() - begun
    embedded = service.items(embed_model.usage) - before

    def search(query: Query) -> list[Hit]:
        where = {"kind": query.kind} if query.kind else None
        bundle = embed_model.get_query_bundle(query.ask)
        retriever = MatryoshkaRetriever(index, similarity_top_k=HITS, filter=where)
        # LlamaIndex's nodes carry one score; the collection underneath tells that of each pass.
        assert bundle.embedding is not None
        passes = store.collection.search(bundle.embedding, HITS, filter=where, first_scores=True)
        first = {str(hit.id): hit.first_score for hit in passes}
        return [
            found(first[hit.node.node_id], hit.score, hit.node.metadata)
            for hit in retriever.retrieve(bundle)
        ]

    answers = [(query, search(query)) for query in ASKED]
    store.close()
    return Outcome(
        title="LlamaIndex",
        counts=Counter(node.metadata["kind"] for node in nodes),
        embedded=embedded,
        where="memory" if service.folder is None else "a folder",
        seconds=seconds,
        answers=answers,
        usage=embed_model.usage,
    )


# ---------------------------------------------------------------- the report


class Paint:
    """Colours for a terminal, plain text for everything else."""

    def __init__(self) -> None:
        self.on = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on else text


BOLD, DIM, GREEN, RED, YELLOW = "1", "2", "32", "31", "33"


def clip(text: str, width: int) -> str:
    """``text`` in exactly ``width`` columns."""
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def print_outcome(outcome: Outcome, paint: Paint) -> int:
    """Print the table of hits; return how much went wrong: queries, embeddings made twice."""
    print()
    items = outcome.counts.total()
    print(
        paint(BOLD, outcome.title)
        + f"   MatryoshkaVectorStore in {outcome.where}: {items} items stored with "
        + f"{outcome.embedded} embeddings, {outcome.seconds:.1f} s"
    )
    passes = "".join(f"{tier:>7}" for tier in TIERS)
    print(paint(DIM, f"  {'asked':37}{passes}  found"))
    missed = abs(outcome.embedded - items)
    for query, hits in outcome.answers:
        right = bool(hits) and hits[0].name == query.best
        missed += not right
        left = [str(query), f"  {query.way}", ""]
        for row in range(max(2, len(hits))):
            mark, scores, name = " ", "", ""
            if row < len(hits):
                scores = f"{hits[row].first:7.3f}{hits[row].score:7.3f}"
                name = hits[row].name
                if row == 0:
                    mark = paint(GREEN, "✓") if right else paint(RED, "✗")
            asked = clip(left[row], 36)
            asked = paint(DIM, asked) if row else asked
            shown = clip(name, 45)
            print(f"  {asked}{mark}{scores:>14}  {shown if row else paint(BOLD, shown)}".rstrip())
        if not right:
            print(paint(RED, f"  expected first: {query.best}"))
    return missed


def print_usage(outcomes: Sequence[Outcome], paint: Paint, *, live: bool) -> None:
    """Tokens by modality, requests and dollars, a line for each framework and their sum."""
    print()
    columns = {
        "text": Modality.TEXT,
        "image": Modality.IMAGE,
        "audio": Modality.AUDIO,
        "video": Modality.VIDEO,
        "pdf": Modality.DOCUMENT,
    }
    cost = "cost" if live else "would cost"
    title = paint(BOLD, clip("Tokens, questions included", 30))
    names = "".join(f"{name:>8}" for name in columns)
    print(f"{title}{names} {'inputs':>7} {'requests':>8} {cost:>11}")
    total = Usage()
    for outcome in outcomes:
        total += outcome.usage
    rows = [*((outcome.title, outcome.usage) for outcome in outcomes), ("together", total)]
    for name, usage in rows:
        counts = "".join(f"{usage.tokens.get(modality, 0):>8,}" for modality in columns.values())
        dollars = f"${usage.dollars:.4f}"
        print(f"  {clip(name, 28)}{counts} {usage.items:>7} {usage.requests:>8} {dollars:>11}")


def print_source(paint: Paint, *, live: bool) -> None:
    """Say plainly where the vectors come from."""
    print()
    if live:
        print(paint(BOLD, "The vectors come from the service: gemini-embedding-2."))
    else:
        plain = "The vectors come from the emulator, not from the model"
        print(paint(YELLOW, plain) + ": hashed words and descriptions.")


# ---------------------------------------------------------------- all of it


@contextmanager
def service_for(*, live: bool) -> Iterator[Service]:
    """Google's service, or an emulator for as long as the demo runs; and a folder for the index."""
    key = os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY", "")
    if live and not key:
        raise SystemExit("demo: --live needs a key in GEMINI_API_KEY")
    with tempfile.TemporaryDirectory(prefix="gemini2-demo-") as folder:
        # The extra [edge] is Qdrant's engine in this process; without it, memory will do.
        kept = Path(folder) if find_spec("qdrant_edge") else None
        if live:
            yield Service(key, None, kept, None)
            return
        with serve() as emulator:
            yield Service(
                "emulator",
                emulator.base_url,
                kept,
                lambda: sum(request.items for request in emulator.requests),
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status is 1 if a query didn't find what it must."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--live", action="store_true", help="ask the service, not the emulator")
    options = parser.parse_args(arguments)
    live: bool = options.live
    paint = Paint()
    print(paint(BOLD, "A maintenance manual, chapter 28 (fuel), on the " + SOURCES[live]))
    try:
        with service_for(live=live) as service:
            outcomes = [with_langchain(service), with_llama_index(service)]
    except Gemini2Error as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    kinds = (
        f"{outcomes[0].counts[kind]} {kind}{'s' if outcomes[0].counts[kind] != 1 else ''}"
        for kind in ("section", *KINDS.values())
    )
    print(f"{', '.join(kinds)} in one index")
    small, large = TIERS
    counted = "as Usage counts them" if live else "as the emulator counts them"
    print(f"one embedding each, {counted}: {small} numbers find a short list, {large} re-score it")
    missed = sum(print_outcome(outcome, paint) for outcome in outcomes)
    print_usage(outcomes, paint, live=live)
    print_source(paint, live=live)
    if missed:
        print(paint(RED, f"{missed} things went wrong: see above."))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
