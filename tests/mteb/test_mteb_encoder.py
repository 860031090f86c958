"""mteb itself runs small tasks of every kind on the encoder, over HTTP, without the network."""

from __future__ import annotations

import io
import socket
import wave
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gemini2_core import Gemini2Embedder, TaskType
from gemini2_core.emulator import Emulator, serve
from gemini2_core.index.evaluation.mteb_encoder import MtebEncoder, mteb_side, mteb_task
from tests.wire import items, kinds, sent, texts

mteb = pytest.importorskip("mteb", reason="mteb has an environment of its own: make test-mteb")
datasets = pytest.importorskip("datasets")

from mteb.abstasks import (  # noqa: E402  # after what skips
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

# torch and mteb warn of their own future.
pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(300),
]

PUMPS = [
    "The fuel pump whines before take-off.",
    "A worn fuel pump delivers too little fuel.",
    "Fuel pump pressure is low at full throttle.",
    "Replace the fuel pump and its gasket.",
]
TYRES = [
    "The left tyre loses air overnight.",
    "Tyre pressure is checked before each flight.",
    "A flat tyre pulls the aircraft to one side.",
    "Replace the tyre and its inner tube.",
]


def metadata(kind: str, score: str, **changes: object) -> TaskMetadata:
    told: dict[str, Any] = {
        "name": f"Local{kind.replace('(', '').replace(')', '')}",
        "description": "A handful of sentences about an aircraft.",
        "reference": "https://example.com",
        "dataset": {"path": "none", "revision": "1"},
        "category": "t2t",
        "type": kind,
        "main_score": score,
        "eval_splits": ["test"],
        "eval_langs": ["eng-Latn"],
        "date": ("2026-01-01", "2026-01-01"),
        "dialect": [],
        "domains": [],
        "task_subtypes": [],
        "license": "cc-by-4.0",
        "annotations_creators": "derived",
        "modalities": ["text"],
        "sample_creation": "created",
        "bibtex_citation": "",
        **changes,
    }
    return TaskMetadata(**told)


def split(
    queries: list[dict[str, Any]],
    corpus: list[dict[str, Any]],
    relevant: dict[str, dict[str, int]],
    ranked: dict[str, list[str]] | None = None,
) -> RetrievalSplitData:
    return RetrievalSplitData(
        queries=datasets.Dataset.from_list(queries),
        corpus=datasets.Dataset.from_list(corpus),
        relevant_docs=relevant,
        top_ranked=ranked,
    )


class Retrieval(AbsTaskRetrieval):  # type: ignore[misc]  # mteb isn't typed here
    metadata = metadata("Retrieval", "ndcg_at_10")

    def load_data(self, **kwargs: object) -> None:
        corpus = [
            {"id": f"d{n}", "text": text, "title": "Fuel" if n < 4 else ""}
            for n, text in enumerate([*PUMPS, *TYRES])
        ]
        queries = [
            {"id": "q1", "text": "fuel pump whines"},
            {"id": "q2", "text": "tyre loses air overnight"},
        ]
        self.dataset = {
            "default": {"test": split(queries, corpus, {"q1": {"d0": 1}, "q2": {"d4": 1}})}
        }
        self.data_loaded = True


class CodeRetrieval(Retrieval):
    metadata = metadata(
        "Retrieval", "ndcg_at_10", name="LocalCode", task_subtypes=["Code retrieval"]
    )


class Reranking(AbsTaskRetrieval):  # type: ignore[misc]  # mteb isn't typed here
    metadata = metadata("Reranking", "map_at_1000")

    def load_data(self, **kwargs: object) -> None:
        corpus = [{"id": f"d{n}", "text": text} for n, text in enumerate(PUMPS[:1] + TYRES[:1])]
        queries = [{"id": "q1", "text": "whining fuel pump"}]
        ranked = {"q1": ["d0", "d1"]}
        self.dataset = {
            "default": {"test": split(queries, corpus, {"q1": {"d0": 1, "d1": 0}}, ranked)}
        }
        self.data_loaded = True


class Similarity(AbsTaskSTS):  # type: ignore[misc]  # mteb isn't typed here
    metadata = metadata("STS", "cosine_spearman")
    min_score, max_score = 0, 5

    def load_data(self, **kwargs: object) -> None:
        pairs = [
            (PUMPS[0], PUMPS[0], 5.0),
            (PUMPS[0], "The fuel pump whines.", 4.0),
            (PUMPS[0], TYRES[0], 0.0),
        ]
        one, two, score = zip(*pairs, strict=True)
        self.dataset = datasets.DatasetDict(
            test=datasets.Dataset.from_dict({"sentence1": one, "sentence2": two, "score": score})
        )
        self.data_loaded = True


class Labels(AbsTaskClassification):  # type: ignore[misc]  # mteb isn't typed here
    metadata = metadata("Classification", "accuracy", category="t2c")
    samples_per_label, n_experiments = 2, 2

    def load_data(self, **kwargs: object) -> None:
        def rows(start: int) -> object:
            texts = PUMPS[start : start + 2] + TYRES[start : start + 2]
            return datasets.Dataset.from_dict({"text": texts, "label": [0, 0, 1, 1]})

        self.dataset = datasets.DatasetDict(train=rows(0), test=rows(2))
        self.data_loaded = True


class Groups(AbsTaskClustering):  # type: ignore[misc]  # mteb isn't typed here
    metadata = metadata("Clustering", "v_measure", category="t2c")
    max_fraction_of_documents_to_embed = None
    max_document_to_embed = 8
    n_clusters = 2

    def load_data(self, **kwargs: object) -> None:
        self.dataset = datasets.DatasetDict(
            test=datasets.Dataset.from_dict(
                {"sentences": PUMPS + TYRES, "labels": ["pump"] * 4 + ["tyre"] * 4}
            )
        )
        self.data_loaded = True


class Pairs(AbsTaskPairClassification):  # type: ignore[misc]  # mteb isn't typed here
    metadata = metadata("PairClassification", "max_ap")

    def load_data(self, **kwargs: object) -> None:
        self.dataset = datasets.DatasetDict(
            test=datasets.Dataset.from_dict(
                {
                    "sentence1": [PUMPS[0], PUMPS[1]],
                    "sentence2": ["The fuel pump whines loudly.", TYRES[1]],
                    "labels": [1, 0],
                }
            )
        )
        self.data_loaded = True


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    running.reset()
    return running


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks another machine fails."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {
            "127.0.0.1",
            "::1",
            "localhost",
        }:
            raise AssertionError(f"the network was asked: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


Make = Callable[..., MtebEncoder]


@pytest.fixture
def encoder(emulator: Emulator) -> Iterator[Make]:
    made: list[Gemini2Embedder] = []

    def build(*, model: str = "gemini-embedding-2", **options: Any) -> MtebEncoder:
        own = Gemini2Embedder(model, api_key="any", base_url=emulator.base_url)
        made.append(own)
        return MtebEncoder(own, **options)

    yield build
    for one in made:
        one.close()


def run(encoder: MtebEncoder, task: Any) -> float:
    result = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False)
    (scored,) = result.task_results
    return float(scored.get_score())


QUERY = "task: search result | query: "


@pytest.mark.parametrize(
    ("task", "prefixes", "least"),
    [
        (Retrieval, {QUERY, "title: none | text: ", "title: Fuel | text: "}, 1.0),
        (CodeRetrieval, {"task: code retrieval | query: ", "title: Fuel | text: "}, 1.0),
        (Reranking, {QUERY, "title: none | text: "}, 1.0),
        (Similarity, {"task: sentence similarity | query: "}, 1.0),
        (Labels, {"task: classification | query: "}, 0.75),
        (Groups, {"task: clustering | query: "}, 0.5),
        (Pairs, {"task: classification | query: "}, 1.0),
    ],
)
def test_a_task_of_mtebs_reaches_the_model_in_the_text(
    encoder: Make, emulator: Emulator, task: type, prefixes: set[str], least: float
) -> None:
    assert run(encoder(), task()) >= least
    asked = texts(emulator)
    assert asked
    allowed = tuple(prefixes | ({"title: none | text: "} if issubclass(task, Retrieval) else set()))
    assert all(text.startswith(allowed) for text in asked)
    for prefix in prefixes:
        assert any(text.startswith(prefix) for text in asked)
    if task is Retrieval:  # a title is told once, not in the text as well
        assert "title: Fuel | text: The fuel pump whines before take-off." in asked


def test_many_texts_are_one_request(encoder: Make, emulator: Emulator) -> None:
    run(encoder(), Groups())
    assert len(items(emulator)) == 8
    assert len(emulator.requests) == 1


def test_mtebs_own_mapping_can_be_handed_in(encoder: Make, emulator: Emulator) -> None:
    from mteb.models.model_implementations.google_gemini import GEMINI_EMBEDDING_2_PROMPTS

    own = encoder(task_types=GEMINI_EMBEDDING_2_PROMPTS)
    run(own, CodeRetrieval())  # "query" and "document" stand in that mapping
    assert any(text.startswith(QUERY) for text in texts(emulator))
    emulator.reset()
    run(encoder(task_types={"LocalSTS": "QUESTION_ANSWERING"}), Similarity())
    assert all(text.startswith("task: question answering | query: ") for text in texts(emulator))


def test_the_embedders_own_task_can_hold_for_all(encoder: Make, emulator: Emulator) -> None:
    run(encoder(task_types=None), Similarity())
    assert all(text.startswith(QUERY) for text in texts(emulator))


def test_001_is_told_by_the_field(encoder: Make, emulator: Emulator) -> None:
    run(encoder(model="gemini-embedding-001"), Retrieval())
    fields = {item.get("taskType") for item in items(emulator)}
    assert fields == {"RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"}
    assert {item.get("title") for item in items(emulator)} == {None, "Fuel"}
    assert PUMPS[0] in texts(emulator)


def test_mteb_takes_it_for_one_of_its_own(encoder: Make, emulator: Emulator) -> None:
    from mteb.models.models_protocols import EncoderProtocol

    one = encoder()
    assert isinstance(one, EncoderProtocol)
    meta = one.mteb_model_meta
    assert meta.name == "google/gemini-embedding-2"
    assert meta.modalities == ["text", "image", "audio"]
    assert meta.embed_dim == 768
    # Google's own results, other sizes, other tasks and the emulator's don't meet in mteb's cache.
    assert meta.revision != mteb.get_model_meta(meta.name).revision
    others = [one, encoder(task_types={"STS": None}), encoder(tell_media_tasks=True)]
    others.append(MtebEncoder(Gemini2Embedder(api_key="any", dimensions=3072)))
    names = [other.mteb_model_meta.experiment_name for other in others]
    assert len(set(names)) == len(names)
    assert "127.0.0.1" in names[0]
    assert encoder(model="gemini-embedding-001").mteb_model_meta.modalities == ["text"]


def test_similarity_is_mtebs_cosine(encoder: Make) -> None:
    one, rows = encoder(), np.eye(3, dtype=np.float32)
    assert np.allclose(one.similarity(rows, rows[:2]), np.eye(3)[:, :2])
    assert np.allclose(one.similarity_pairwise(rows, rows), 1)


def test_an_empty_text_is_zeros_and_is_warned_of(encoder: Make) -> None:
    with pytest.warns(UserWarning, match="1 empty texts"):
        vectors = encoder().encode(
            [{"text": ["", "word"]}], task_metadata=Similarity.metadata, prompt_type=None
        )
    assert vectors.shape == (2, 768)
    assert not vectors[0].any()
    assert vectors[1].any()


def test_sound_goes_as_wav_and_not_longer_than_the_model_hears(
    encoder: Make, emulator: Emulator
) -> None:
    task = metadata("AudioClassification", "accuracy", modalities=["audio"], category="a2c")
    second = {"array": np.ones(8000, np.float32), "sampling_rate": 8000}
    long = {"array": np.zeros(8000 * 181, np.float32), "sampling_rate": 8000}
    with pytest.warns(UserWarning, match="181 s is cut to the model's 180 s"):
        vectors = encoder().encode([{"audio": [second, long]}], task_metadata=task)
    assert vectors.shape == (2, 768)
    assert sorted(map(kinds, sent(emulator))) == [["audio/wav"], ["audio/wav"]]
    lengths = set()
    for parts in sent(emulator):
        with wave.open(io.BytesIO(urlsafe_b64decode(parts[0]["inline_data"]["data"]))) as sound:
            lengths.add(sound.getnframes() / sound.getframerate())
    assert lengths == {1.0, 180.0}


class Pictures(AbsTaskRetrieval):  # type: ignore[misc]  # mteb isn't typed here
    metadata = metadata(
        "Any2AnyRetrieval", "ndcg_at_10", modalities=["text", "image"], category="t2i"
    )

    def load_data(self, **kwargs: object) -> None:
        from PIL import Image

        colours = ["red", "green", "blue"]
        corpus = [
            {"id": f"d{n}", "image": Image.new("RGB", (8, 8), c)} for n, c in enumerate(colours)
        ]
        queries = [{"id": "q1", "text": "a red square"}]
        self.dataset = {"default": {"test": split(queries, corpus, {"q1": {"d0": 1}})}}
        self.data_loaded = True


@pytest.mark.parametrize("told", [False, True])
def test_pictures_go_bare_and_texts_for_them_as_told(
    encoder: Make, emulator: Emulator, told: bool
) -> None:
    pytest.importorskip("PIL", reason="mteb's picture tasks need Pillow")
    score = run(encoder(tell_media_tasks=told), Pictures())
    assert 0 <= score <= 1  # the emulator sees no colours
    asked = sorted(map(kinds, sent(emulator)))
    words = [f"{QUERY}a red square"] if told else ["a red square"]
    assert asked == sorted([words, ["image/png"], ["image/png"], ["image/png"]])


def test_text_and_picture_of_one_row_are_one_input(encoder: Make, emulator: Emulator) -> None:
    image = pytest.importorskip("PIL.Image", reason="mteb's picture tasks need Pillow")
    task = metadata("Any2AnyRetrieval", "ndcg_at_10", modalities=["text", "image"], category="it2t")
    batch = {"text": ["what is this?"], "image": [image.new("RGB", (8, 8), "red")]}
    assert len(encoder().encode([batch], task_metadata=task, prompt_type="query")) == 1
    assert [kinds(parts) for parts in sent(emulator)] == [["what is this?", "image/png"]]


@pytest.mark.parametrize(
    ("kind", "subtypes", "task"),
    [
        ("Retrieval", [], TaskType.RETRIEVAL_QUERY),
        ("Retrieval", ["Claim verification"], TaskType.FACT_VERIFICATION),
        ("Retrieval", ["Question answering"], TaskType.QUESTION_ANSWERING),
        ("InstructionReranking", [], TaskType.RETRIEVAL_QUERY),
        ("MultilabelClassification", ["Claim verification"], TaskType.CLASSIFICATION),
        ("BitextMining", [], TaskType.SEMANTIC_SIMILARITY),
        ("Summarization", [], TaskType.SEMANTIC_SIMILARITY),
        ("VisualSTS(eng)", [], TaskType.SEMANTIC_SIMILARITY),
        ("ImageClustering", [], TaskType.CLUSTERING),
        ("VideoCentricQA", [], TaskType.RETRIEVAL_QUERY),
    ],
)
def test_which_task_is_which(kind: str, subtypes: list[str], task: TaskType) -> None:
    assert mteb_task(metadata(kind, "x", task_subtypes=subtypes)) is task


def test_every_type_mteb_knows_has_a_task() -> None:
    from typing import get_args

    from mteb.abstasks.task_metadata import _TASKTYPE2SIMPLIFIEDTASKTYPE
    from mteb.abstasks.task_metadata import TaskType as Types

    simple = {
        "retrieval": TaskType.RETRIEVAL_QUERY,
        "clustering": TaskType.CLUSTERING,
        "classification": TaskType.CLASSIFICATION,
        "pair-classification": TaskType.CLASSIFICATION,
        "semantic-similarity": TaskType.SEMANTIC_SIMILARITY,
    }
    for kind in get_args(Types):
        expected = simple[_TASKTYPE2SIMPLIFIEDTASKTYPE[kind]]
        assert mteb_task(metadata(kind, "x")) is expected, kind


def test_where_mteb_tells_no_side_the_task_does() -> None:
    assert mteb_side(TaskType.RETRIEVAL_DOCUMENT, None) == "document"
    assert mteb_side(TaskType.QUESTION_ANSWERING, None) == "query"
    assert mteb_side(TaskType.RETRIEVAL_DOCUMENT, "query") == "query"
