"""What retrieval is measured on: synthetic vectors with a stated structure, and real texts."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gemini2_core import Gemini2Embedder
from gemini2_core.content.chunking import ChunkSettings, chunk_documents, read_markdown
from gemini2_core.emulator import serve
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import normalize

Rows = npt.NDArray[np.float32]

LARGE = 3072
HEAD = 768
# The stated structure: 64 latent dimensions, spectrum i^-0.3, through one random linear map;
# isotropic noise of 20 % of the signal's length; the first 768 numbers hold 32 % of the energy,
# as in the recordings.
LATENT, DECAY, NOISE, HEAD_ENERGY = 64, -0.3, 0.2, 0.32
CHUNK = 4096


class Corpus(Protocol):
    """Vectors of 3072 numbers to be found, and vectors that ask for them."""

    name: str
    points: int

    def told(self) -> str:
        """What it is, in a sentence or two for the table's head."""

    def documents(self) -> Iterator[tuple[int, Rows]]:
        """Chunks of rows, each with the number of its first."""

    def queries(self, n: int) -> Rows:
        """The first ``n`` queries; fewer if there are no more."""


class Synthetic:
    """Vectors of that structure, made a chunk at a time and the same for the same seed."""

    def __init__(self, points: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.name = "synthetic"
        self.points = points
        self.seed = seed
        self.spectrum = (np.arange(1, LATENT + 1) ** DECAY).astype(np.float32)
        self.map = rng.normal(size=(LATENT, LARGE)).astype(np.float32)
        # The signal's share in the head, so that with the noise, spread evenly, it is the whole's.
        noise = NOISE**2
        head = HEAD_ENERGY * (1 + noise) - noise * HEAD / LARGE
        self.scale = np.full(LARGE, np.sqrt((1 - head) / (LARGE - HEAD)), dtype=np.float32)
        self.scale[:HEAD] = np.sqrt(head / HEAD)

    def told(self) -> str:
        return (
            f"{self.points:,} synthetic vectors: {LATENT} latent dimensions with spectrum "
            f"i^{DECAY} through one random linear map, {NOISE:.0%} isotropic noise, the first "
            f"{HEAD} numbers hold {energy(self.rows(1000, 1)):.1%} of the energy"
        )

    def rows(self, n: int, stream: int) -> Rows:
        rng = np.random.default_rng((self.seed, stream))
        latent = rng.standard_normal((n, LATENT), dtype=np.float32) * self.spectrum
        signal = normalize((latent @ self.map) * self.scale)
        noise = normalize(rng.standard_normal((n, LARGE), dtype=np.float32))
        return normalize(signal + NOISE * noise)

    def documents(self) -> Iterator[tuple[int, Rows]]:
        for stream, start in enumerate(range(0, self.points, CHUNK), start=1):
            yield start, self.rows(min(CHUNK, self.points - start), stream)

    def queries(self, n: int) -> Rows:
        return self.rows(n, 0)


class RealTexts:
    """Prose that is installed here, embedded once at 3072 through the emulator, over HTTP.

    READMEs of distributions, and docstrings of the standard library and of what is installed for
    science, cut by the chunker. A query is a sentence taken out of a chunk.
    """

    def __init__(self, points: int, queries: int, seed: int, kept: Path) -> None:
        """Taken from the file ``kept`` if it is there; else made and kept."""
        self.name = "real texts"
        if not kept.is_file():
            _embed(points, queries, seed, kept)
        with np.load(kept) as file:
            self.vectors: Rows = file["vectors"]
            self.asked: Rows = file["asked"]
            self.characters, self.items = int(file["characters"]), int(file["items"])
        self.points = len(self.vectors)

    def told(self) -> str:
        return (
            f"{self.points:,} real texts ({self.characters / self.points:.0f} characters each, "
            f"prose that is installed here) on the EMULATOR, whose vectors are hashed words and "
            f"not the model's; {self.items:,} items embedded, the first {HEAD} numbers hold "
            f"{energy(self.vectors[:1000]):.1%} of the energy"
        )

    def documents(self) -> Iterator[tuple[int, Rows]]:
        for start in range(0, self.points, CHUNK):
            yield start, self.vectors[start : start + CHUNK]

    def queries(self, n: int) -> Rows:
        return self.asked[:n]


def _embed(points: int, queries: int, seed: int, kept: Path) -> None:
    texts = gather(points, seed)
    questions = held_out(texts, queries)
    with (
        serve() as emulator,
        Gemini2Embedder(
            api_key="any", base_url=emulator.base_url, dimensions=LARGE, show_progress=True
        ) as embedder,
    ):
        vectors = embedder.embed_documents(texts).vectors
        items = sum(request.items for request in emulator.requests)
        asked = embedder.embed_queries(questions).vectors
    characters = sum(map(len, texts))
    np.savez(kept, vectors=vectors, asked=asked, characters=characters, items=items)


def energy(rows: Rows) -> float:
    """Which share of the energy the first 768 numbers hold."""
    return float((rows[:, :HEAD] ** 2).sum(axis=1).mean())


# ---- real texts

# Their docstrings are prose; what isn't installed is left out.
_PACKAGES = (
    *("langchain_core", "llama_index", "matplotlib", "networkx", "nltk", "numpy", "pandas", "ray"),
    *("scipy", "sklearn", "sqlalchemy"),
)
_SHORTEST = 120
_LETTERS = 0.7
_SETTINGS = ChunkSettings(max_tokens=160)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def gather(points: int, seed: int) -> list[str]:
    """Different chunks of at least a sentence or two, sources shuffled."""
    sources = [*descriptions(), *docstrings()]
    random.Random(seed).shuffle(sources)
    found: dict[str, None] = {}
    with tempfile.TemporaryDirectory() as empty:
        for name, text in sources:
            try:
                read = read_markdown(
                    text, source=name, media_root=empty, media_dir=empty, on_missing="alt"
                )
                chunks = [chunk.text for chunk in chunk_documents(read, _SETTINGS)]
            except InvalidInputError:  # a docstring about lone surrogates holds one
                continue
            found.update(dict.fromkeys(text for text in chunks if prose(text)))
            if len(found) >= points:
                break
    return list(found)[:points]


def prose(text: str) -> bool:
    """Whether it reads as sentences: lists of parameters, tables and code hardly do."""
    words = re.findall(r"\b[A-Za-z][a-z]*\b", text)
    return len(text) >= _SHORTEST and sum(map(len, words)) > _LETTERS * len(text)


def descriptions() -> Iterator[tuple[str, str]]:
    """The READMEs of all that is installed."""
    for one in sorted(metadata.distributions(), key=lambda d: str(d.metadata["Name"])):
        text = one.metadata.json.get("description")
        if isinstance(text, str):
            yield str(one.metadata["Name"]), text


def docstrings() -> Iterator[tuple[str, str]]:
    """Docstrings of the standard library and of some packages, their tests left out."""
    library = Path(sysconfig.get_path("stdlib"))
    installed = Path(sysconfig.get_path("purelib"))
    roots = [library, *(installed / name for name in _PACKAGES)]
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            if {"site-packages", "test", "tests", "idlelib"} & set(inside.parts):
                continue
            yield from _docstrings(path, f"{root.name}/{inside.as_posix()}")


def _docstrings(path: Path, name: str) -> Iterator[tuple[str, str]]:
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, ValueError):  # lib2to3's own examples of bad files
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) >= _SHORTEST:
                yield f"{name}:{getattr(node, 'name', '')}", text


def held_out(chunks: list[str], n: int) -> list[str]:
    """Take a sentence out of each of ``n`` chunks, evenly spread; the chunks lose it."""
    questions: list[str] = []
    able = [at for at, text in enumerate(chunks) if len(_SENTENCE.split(text)) >= 4]
    for at in able[:: max(1, len(able) // (2 * n))]:
        sentences = _SENTENCE.split(chunks[at])
        sentence = sentences[len(sentences) // 2]
        if 6 <= len(sentence.split()) <= 40 and "--" not in sentence and sentence[-1] == ".":
            questions.append(" ".join(sentence.split()))
            chunks[at] = chunks[at].replace(sentence, "", 1)
        if len(questions) == n:
            break
    return questions
