"""Both adapters against recorded traffic of the real service: its requests, its vectors.

A server on loopback answers a request that equals a recorded one with the recorded body, and
anything else with a 404. Nothing of a request is normalized but this: ``taskType`` is left out of
recorded requests to ``gemini-embedding-2`` and its preview, which ignore it (the recorded ones that
have it were made by others; we tell the task in the text). Bodies are compared as JSON, so the
order of keys doesn't count.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from gemini2_core.errors import ConfigurationError, LimitError
from gemini2_core.model import normalize
from langchain_gemini2 import Gemini2Embeddings
from llama_index_gemini2 import Gemini2Embedding
from tests.wire import KEY

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"

pytestmark = [
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/recordings isn't here"),
    pytest.mark.filterwarnings("ignore:gemini-embedding-2-preview:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*128 lies between:UserWarning"),
]

Vectors = list[list[float]]


def recording(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def _path(found: dict[str, Any]) -> str:
    return "/" + str(found["uri"]).split("/", 3)[3]


def _normalized(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if "gemini-embedding-2" not in path or "requests" not in body:
        return body
    kept = [{k: v for k, v in item.items() if k != "taskType"} for item in body["requests"]]
    return {**body, "requests": kept}


@dataclass
class Replay:
    """A server that knows nothing but the recordings.

    Attributes:
        base_url: Where it is.
        requests: Path, body and name of the recording that answered (None for a 404).
    """

    base_url: str = ""
    requests: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for file in sorted(RECORDINGS.glob("*.json")):
            found = recording(file.stem)
            if _path(found) == path and _normalized(path, found["request"]) == body:
                self.requests.append((path, body, file.stem))
                return found["status"], found["response"]
        self.requests.append((path, body, None))
        error = {"code": 404, "message": "This was never recorded.", "status": "NOT_FOUND"}
        return 404, {"error": error}


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Replay]:
    for name in ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    state = Replay()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = state.answer(self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        state.base_url = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()
        thread.join()


def _media(name: str) -> list[bytes]:
    """The media of a recorded request, in order."""
    parts = [p for item in recording(name)["request"]["requests"] for p in item["content"]["parts"]]
    return [base64.urlsafe_b64decode(p["inline_data"]["data"]) for p in parts if "inline_data" in p]


def _kiwi() -> list[object]:
    return ["a kiwi fruit", "green and fuzzy", *_media("text_and_image_one_content_3072")]


async def _one(coroutine: Any) -> Vectors:
    return [await coroutine]


def _titled() -> list[TextNode]:
    return [TextNode(text="hello", metadata={"title": "Greeting"})]


@dataclass(frozen=True)
class Case:
    """How each adapter is asked for what a recording holds; the second of a pair is awaited."""

    langchain: tuple[Callable[[Gemini2Embeddings], Vectors], Callable[[Gemini2Embeddings], Any]]
    llama_index: tuple[Callable[[Gemini2Embedding], Vectors], Callable[[Gemini2Embedding], Any]]
    options: dict[str, Any] = field(default_factory=dict)


def _query(**options: Any) -> Case:
    return Case(
        (
            lambda m: [m.embed_query("Hello, world!")],
            lambda m: _one(m.aembed_query("Hello, world!")),
        ),
        (
            lambda m: [m.get_query_embedding("Hello, world!")],
            lambda m: _one(m.aget_query_embedding("Hello, world!")),
        ),
        options,
    )


def _documents(*texts: str, **options: Any) -> Case:
    return Case(
        (lambda m: m.embed_documents([*texts]), lambda m: m.aembed_documents([*texts])),
        (
            lambda m: m.get_text_embedding_batch([*texts]),
            lambda m: m.aget_text_embedding_batch([*texts]),
        ),
        options,
    )


def _pictures(name: str, **options: Any) -> Case:
    def files() -> list[Any]:
        return [io.BytesIO(data) for data in _media(name)]

    return Case(
        (lambda m: m.embed_image(_media(name)), lambda m: m.aembed_image(_media(name))),
        (
            lambda m: m.get_image_embedding_batch(files()),
            lambda m: m.aget_image_embedding_batch(files()),
        ),
        options,
    )


async def _anodes(model: Gemini2Embedding) -> Vectors:
    return [node.get_embedding() for node in await model.acall(_titled())]


BARE: dict[str, Any] = {"task_type": None}
CASES: dict[str, Case] = {
    "text_query_prefix_3072": _query(),
    "text_documents_no_title_3072": _documents("hello", "world"),
    "text_document_with_title_3072": Case(
        (
            lambda m: m.embed_documents(["hello"], titles=["Greeting"]),
            lambda m: m.aembed_documents(["hello"], titles=["Greeting"]),
        ),
        (lambda m: [node.get_embedding() for node in m(_titled())], _anodes),
    ),
    "text_clustering_3072": _documents("hello", task_type="CLUSTERING"),
    "text_bare_3072": _documents("Some text goes here", **BARE),
    "text_bare_768": _documents("Some text goes here", **BARE, dimensions=768),
    "gemini_001_text_3072": _documents("Some text goes here", **BARE, model="gemini-embedding-001"),
    "gemini_001_text_768": _documents(
        "Some text goes here", **BARE, model="gemini-embedding-001", dimensions=768
    ),
    "preview_query_tasktype_3072": _query(**BARE, model="gemini-embedding-2-preview"),
    "image_only_3072": _pictures("image_only_3072"),
    "seven_images_in_seven_contents_128": _pictures(
        "seven_images_in_seven_contents_128", dimensions=128
    ),
    "text_and_image_one_content_3072": Case(
        (lambda m: m.embed_contents([_kiwi()]), lambda m: m.aembed_contents([_kiwi()])),
        (
            lambda m: [m.get_content_embedding(_kiwi())],
            lambda m: _one(m.aget_content_embedding(_kiwi())),
        ),
        BARE,
    ),
    "audio_only_3072": Case(
        (
            lambda m: m.embed_audio(_media("audio_only_3072")),
            lambda m: m.aembed_audio(_media("audio_only_3072")),
        ),
        (
            lambda m: m.get_content_embedding_batch(_media("audio_only_3072")),
            lambda m: m.aget_content_embedding_batch(_media("audio_only_3072")),
        ),
    ),
    "vertex_text_question_3072": _query(
        task_type="QUESTION_ANSWERING", vertexai=True, project="pydantic-ai", location="global"
    ),
}
#: Recordings of what the adapters never send.
NOT_SENT = {"count_tokens", "seven_images_in_one_content_400", "unknown_model_404"}


def _options(replay: Replay, case: Case) -> dict[str, Any]:
    options: dict[str, Any] = {"base_url": replay.base_url, "dimensions": 3072, **case.options}
    if options.get("vertexai"):
        from google.oauth2.credentials import Credentials

        options["credentials"] = Credentials("ya29.token-of-the-tests")  # type: ignore[no-untyped-call]
    else:
        options["api_key"] = KEY
    return options


def _recorded(name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    response = recording(name)["response"]
    embeddings = response.get("embeddings") or [response["embedding"]]
    rows = np.array([embedding["values"] for embedding in embeddings], np.float32)
    # 001 leaves it to its caller to bring a vector to unit length; the library does.
    return normalize(rows) if name.startswith("gemini_001") else rows


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("adapter", ["langchain", "llama_index"])
@pytest.mark.parametrize("name", CASES)
def test_the_recorded_request_is_sent_and_the_recorded_vector_comes_back(
    name: str, adapter: str, awaited: bool, replay: Replay
) -> None:
    case = CASES[name]
    options = _options(replay, case)
    if adapter == "langchain":
        with Gemini2Embeddings(**options) as langchain:
            call: Any = case.langchain[awaited]
            vectors = asyncio.run(call(langchain)) if awaited else call(langchain)
    else:
        if "model" in options:
            options["model_name"] = options.pop("model")
        with Gemini2Embedding(**options) as llama_index:
            one: Any = case.llama_index[awaited]
            vectors = asyncio.run(one(llama_index)) if awaited else one(llama_index)
    assert [answered for _, _, answered in replay.requests] == [name]
    expected = _recorded(name)
    assert np.array_equal(np.array(vectors, np.float32), expected)


def test_no_recording_is_left_out() -> None:
    assert {file.stem for file in RECORDINGS.glob("*.json")} == CASES.keys() | NOT_SENT


def test_a_smaller_size_is_the_recorded_one_cut(replay: Replay) -> None:
    with Gemini2Embedding(
        api_key=KEY, base_url=replay.base_url, task_type=None, dimensions=3072
    ) as model:
        result = model.embedder.embed_documents(["Some text goes here"])
    np.testing.assert_allclose(result.truncate(768).vectors, _recorded("text_bare_768"), atol=1e-7)


def test_what_the_service_refused_is_never_sent(replay: Replay) -> None:
    pictures = _media("seven_images_in_one_content_400")
    options: dict[str, Any] = {"api_key": KEY, "base_url": replay.base_url}
    with Gemini2Embeddings(**options) as langchain, Gemini2Embedding(**options) as llama_index:
        with pytest.raises(LimitError, match="6"):
            langchain.embed_contents([pictures])
        with pytest.raises(LimitError, match="6"):
            llama_index.get_content_embedding(pictures)
    for build in (
        lambda: Gemini2Embeddings(**options, model="nonexistent-model"),
        lambda: Gemini2Embedding(**options, model_name="nonexistent-model"),
    ):
        with pytest.raises(ConfigurationError, match="nonexistent-model"):
            build()
    assert replay.requests == []
