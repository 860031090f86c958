"""The same input through both adapters: identical HTTP bodies, identical vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import ImageNode, MediaResource, Node, TextNode

from gemini2_core.content import Content, Media
from gemini2_core.emulator import Emulator, serve
from langchain_gemini2 import Gemini2Embeddings
from llama_index_gemini2 import Gemini2Embedding
from tests.samples import png, wav
from tests.wire import KEY

Vectors = list[list[float]]
#: Of 40, so that both adapters pack several requests.
MANY = [f"Part {n} of the fuel system" for n in range(250)]


@pytest.fixture(scope="module")
def _server() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def emulator(_server: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    for name in ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    _server.reset()
    return _server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    (folder / "red.png").write_bytes(png(255))
    (folder / "blue.png").write_bytes(png(0, 0, 255))
    (folder / "idle.wav").write_bytes(wav())
    return folder


def exchange(
    emulator: Emulator, call: Callable[[], Vectors]
) -> tuple[list[tuple[str, str]], Vectors]:
    """Paths and bodies, in an order of their own (requests run at once), and the vectors."""
    emulator.reset()
    vectors = call()
    assert emulator.requests, "nothing was sent"
    return sorted((request.path, str(request.body)) for request in emulator.requests), vectors


@dataclass(frozen=True)
class Case:
    """One thing said in the words of both frameworks.

    Attributes:
        langchain: Called with the model and the folder of media.
        llama_index: The same.
        options: Arguments of both models; a callable gets the folder.
    """

    langchain: Callable[[Gemini2Embeddings, Path], Vectors]
    llama_index: Callable[[Gemini2Embedding, Path], Vectors]
    options: Callable[[Path], dict[str, Any]] = lambda folder: {}


def _texts(**options: Any) -> Case:
    texts = ["The pump feeds the engine.", "Füllstand: 20 °C", "The pump feeds the engine."]
    return Case(
        lambda model, _: model.embed_documents(texts),
        lambda model, _: model.get_text_embedding_batch(texts),
        lambda _: options,
    )


def _query(**options: Any) -> Case:
    return Case(
        lambda model, _: [model.embed_query("Hello, world!")],
        lambda model, _: [model.get_query_embedding("Hello, world!")],
        lambda _: options,
    )


def _nodes(model: Gemini2Embedding, nodes: list[Any]) -> Vectors:
    return [node.get_embedding() for node in model(nodes)]


async def _anodes(model: Gemini2Embedding, nodes: list[Any]) -> Vectors:
    return [node.get_embedding() for node in await model.acall(nodes)]


MARKDOWN = "The pump ![exploded](red.png) hums ![idle](idle.wav#t=0,0.25) softly."

CASES = {
    "texts": _texts(),
    "texts at 1536": _texts(dimensions=1536),
    "texts at 3072": _texts(dimensions=3072),
    "texts without a task": _texts(task_type=None),
    "texts to cluster": _texts(task_type="CLUSTERING"),
    "texts to answer questions": _texts(task_type="QUESTION_ANSWERING"),
    "texts with 001": _texts(model="gemini-embedding-001"),
    "texts on Vertex": _texts(vertexai=True, project="p", location="us"),
    "a query": _query(),
    "a query for code": _query(task_type="CODE_RETRIEVAL_QUERY"),
    "a query to verify": _query(task_type="FACT_VERIFICATION"),
    "a query with 001": _query(model="gemini-embedding-001"),
    "250 texts": Case(
        lambda model, _: model.embed_documents(MANY),
        lambda model, _: model.get_text_embedding_batch(MANY),
    ),
    "an over-long text": Case(
        lambda model, _: model.embed_documents([" ".join(MANY * 8)]),
        lambda model, _: model.get_text_embedding_batch([" ".join(MANY * 8)]),
    ),
    "titles": Case(
        lambda model, _: model.embed_documents(["It hums.", "It leaks."], titles=["Pump", None]),
        lambda model, _: _nodes(
            model,
            [TextNode(text="It hums.", metadata={"title": "Pump"}), TextNode(text="It leaks.")],
        ),
    ),
    "titles given": Case(
        lambda model, _: model.embed_contents(["It hums.", "It leaks."], titles=["Pump", None]),
        lambda model, _: model.get_content_embedding_batch(
            ["It hums.", "It leaks."], ["Pump", None]
        ),
    ),
    "pictures": Case(
        lambda model, folder: model.embed_image(
            [str(folder / "red.png"), str(folder / "blue.png")]
        ),
        lambda model, folder: model.get_image_embedding_batch(
            [str(folder / "red.png"), str(folder / "blue.png")]
        ),
    ),
    "a picture with its caption": Case(
        lambda model, folder: model.embed_contents([["Figure 1", folder / "red.png"]]),
        lambda model, folder: _nodes(
            model, [ImageNode(text="Figure 1", image_path=str(folder / "red.png"))]
        ),
    ),
    "bytes in the frameworks' own blocks": Case(
        lambda model, _: model.embed_contents(
            [
                [
                    {"type": "text", "text": "A square"},
                    {"type": "image", "base64": _base64(png(1)), "mime_type": "image/png"},
                ]
            ]
        ),
        lambda model, _: _nodes(
            model,
            [
                Node(
                    text_resource=MediaResource(text="A square"),
                    image_resource=MediaResource(data=png(1)),
                )
            ],
        ),
    ),
    "text, picture and sound": Case(
        lambda model, folder: model.embed_contents(
            [["The pump", folder / "red.png", folder / "idle.wav"]]
        ),
        lambda model, folder: _nodes(
            model,
            [
                Node(
                    text_resource=MediaResource(text="The pump"),
                    image_resource=MediaResource(path=folder / "red.png"),
                    audio_resource=MediaResource(path=folder / "idle.wav"),
                )
            ],
        ),
    ),
    "a content of the core": Case(
        lambda model, folder: model.embed_contents([_content(folder)]),
        lambda model, folder: [model.get_content_embedding(_content(folder))],
    ),
    "parts apart": Case(
        lambda model, folder: model.embed_contents([_content(folder)], aggregate="mean"),
        lambda model, folder: model.get_content_embedding_batch(
            [_content(folder)], aggregate="mean"
        ),
    ),
    "Markdown": Case(
        lambda model, _: model.embed_documents([MARKDOWN]),
        lambda model, _: model.get_text_embedding_batch([MARKDOWN]),
        lambda folder: {"media_root": folder},
    ),
    "Markdown of a node": Case(
        lambda model, _: model.embed_documents([MARKDOWN]),
        lambda model, _: _nodes(model, [TextNode(text=MARKDOWN)]),
        lambda folder: {"media_root": folder},
    ),
    "Markdown in a query, not read": Case(
        lambda model, _: [model.embed_query(MARKDOWN)],
        lambda model, _: [model.get_query_embedding(MARKDOWN)],
        lambda folder: {"media_root": folder},
    ),
    "Markdown in a query, read": Case(
        lambda model, _: [model.embed_query(MARKDOWN)],
        lambda model, _: [model.get_query_embedding(MARKDOWN)],
        lambda folder: {"media_root": folder, "media_in_queries": True},
    ),
    "a query with a picture": Case(
        lambda model, folder: [
            model.embed_query_content(["Which part is this?", folder / "red.png"])
        ],
        lambda model, folder: [
            model.get_query_content_embedding(["Which part is this?", folder / "red.png"])
        ],
    ),
    # The other half of each: LangChain awaited here, LlamaIndex there.
    "texts, LangChain awaited": Case(
        lambda model, _: asyncio.run(model.aembed_documents(MANY[:30])),
        lambda model, _: model.get_text_embedding_batch(MANY[:30]),
    ),
    "texts, LlamaIndex awaited": Case(
        lambda model, _: model.embed_documents(MANY[:30]),
        lambda model, _: asyncio.run(model.aget_text_embedding_batch(MANY[:30])),
    ),
    "a query, LangChain awaited": Case(
        lambda model, _: [asyncio.run(model.aembed_query("q"))],
        lambda model, _: [model.get_query_embedding("q")],
    ),
    "a query, LlamaIndex awaited": Case(
        lambda model, _: [model.embed_query("q")],
        lambda model, _: [asyncio.run(model.aget_query_embedding("q"))],
    ),
    "contents, LangChain awaited": Case(
        lambda model, folder: asyncio.run(model.aembed_contents([["x", folder / "red.png"]])),
        lambda model, folder: [model.get_content_embedding(["x", folder / "red.png"])],
    ),
    "contents, LlamaIndex awaited": Case(
        lambda model, folder: model.embed_contents([["x", folder / "red.png"]]),
        lambda model, folder: asyncio.run(
            _anodes(model, [ImageNode(text="x", image_path=str(folder / "red.png"))])
        ),
    ),
}


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def _content(folder: Path) -> Content:
    return Content.of(["Before", Media.from_path(folder / "blue.png"), "after"])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_both_adapters_send_and_return_the_same(
    case: Case, emulator: Emulator, folder: Path
) -> None:
    options: dict[str, Any] = {"base_url": emulator.base_url, **case.options(folder)}
    if options.get("vertexai"):
        from google.oauth2.credentials import Credentials

        options["credentials"] = Credentials("ya29.token-of-the-tests")  # type: ignore[no-untyped-call]
    else:
        options["api_key"] = KEY
    with Gemini2Embeddings(**options) as langchain:
        first = exchange(emulator, lambda: case.langchain(langchain, folder))
    if "model" in options:
        options["model_name"] = options.pop("model")
    llama_index = Gemini2Embedding(**options)
    second = exchange(emulator, lambda: case.llama_index(llama_index, folder))
    llama_index.close()
    assert second[0] == first[0]
    # LlamaIndex's lists tell their space in bits that no float32 has.
    assert np.array_equal(np.array(second[1], np.float32), np.array(first[1], np.float32))


@pytest.mark.parametrize("task", ["RETRIEVAL_DOCUMENT", "CLUSTERING", None])
def test_both_adapters_live_in_the_same_space(task: str | None) -> None:
    options: dict[str, Any] = {"api_key": KEY, "task_type": task}
    assert Gemini2Embeddings(**options).space == Gemini2Embedding(**options).space


def test_one_cache_serves_both(emulator: Emulator, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "api_key": KEY,
        "base_url": emulator.base_url,
        "cache": tmp_path / "vectors.sqlite",
    }
    with Gemini2Embeddings(**options) as langchain:
        first = langchain.embed_documents(MANY[:5])
    emulator.reset()
    llama_index = Gemini2Embedding(**options)
    second = llama_index.get_text_embedding_batch(MANY[:5])
    assert np.array_equal(np.array(second, np.float32), np.array(first, np.float32))
    assert emulator.requests == []
    llama_index.close()
