"""A corpus with judged questions in BEIR's files, and embedders that ask the emulator."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.emulator import Emulator, serve
from tests.wire import KEY

WORDS = [a + b for a in "ba ce di fo gu ka le mi".split() for b in "lan mer tok vis ron".split()]

Make = Callable[..., Gemini2Embedder]


@dataclass(frozen=True)
class Files:
    corpus: Path
    queries: Path
    qrels: Path


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with serve() as running:
        yield running


@pytest.fixture
def embedder(emulator: Emulator) -> Iterator[Make]:
    emulator.reset()
    made: list[Gemini2Embedder] = []

    def build(model: str = "gemini-embedding-2", **options: object) -> Gemini2Embedder:
        options = {"api_key": KEY, "base_url": emulator.base_url, "dimensions": 3072, **options}
        made.append(Gemini2Embedder(model, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """60 documents of 12 words, 40 queries of 3 words out of one of them."""
    rng = random.Random(3)
    folder = tmp_path_factory.mktemp("beir")
    documents = [(f"d{n}", " ".join(rng.sample(WORDS, 12))) for n in range(60)]
    corpus = [{"_id": own, "title": "", "text": text} for own, text in documents]
    corpus[0]["title"] = "A heading"
    queries, judgements = [], ["query-id\tcorpus-id\tscore"]
    for n, (own, text) in enumerate(rng.choices(documents, k=40)):
        queries.append({"_id": f"q{n}", "text": " ".join(rng.sample(text.split(), 3))})
        judgements.append(f"q{n}\t{own}\t2")
    queries.append({"_id": "unjudged", "text": "nobody judged this"})
    found = Files(folder / "corpus.jsonl", folder / "queries.jsonl", folder / "test.tsv")
    found.corpus.write_bytes(b"\n".join(map(orjson.dumps, corpus)))
    found.queries.write_bytes(b"\n".join(map(orjson.dumps, queries)))
    found.qrels.write_text("\n".join(judgements), "utf-8")
    return found
