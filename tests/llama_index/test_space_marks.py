"""Embeddings that tell their space: through everything LlamaIndex does, and told by a store."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import (
    ImageNode,
    MediaResource,
    Node,
    QueryBundle,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery

from gemini2_core.emulator import Emulator
from gemini2_core.errors import IndexMismatchError, InvalidInputError
from gemini2_core.model import MODELS, EmbeddingSpace, TaskType
from llama_index_gemini2 import Gemini2Embedding, MatryoshkaRetriever, MatryoshkaVectorStore
from llama_index_gemini2.space_marks import marked, space_of
from tests.llama_index.conftest import Make
from tests.wire import items

pytestmark = [pytest.mark.filterwarnings("ignore:.*dimensions.*:UserWarning")]

TIERS = (128, 256)
SPACES = sorted(
    {EmbeddingSpace.of(spec, task) for spec in MODELS.values() for task in (*TaskType, None)},
    key=str,
)
OLD, NEW = (
    EmbeddingSpace("gemini-embedding-001", "RETRIEVAL"),
    EmbeddingSpace("gemini-embedding-2", "RETRIEVAL"),
)
PUMP = "The gasket of the pump is replaced every second year."

Rows = npt.NDArray[np.float32]
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
#: What a vector that tells its space goes through on its way to a store, floats all along.
JOURNEYS: dict[str, Callable[[list[float]], Any]] = {
    "json": lambda vector: json.loads(json.dumps(vector)),
    "orjson": lambda vector: orjson.loads(orjson.dumps(vector)),
    "pickle": lambda vector: pickle.loads(pickle.dumps(vector)),
    "numpy": lambda vector: np.array(vector).tolist(),
    "an array": np.array,
    "a node": lambda vector: TextNode(embedding=vector).embedding,
    "a node's copy": lambda vector: TextNode(embedding=vector).model_copy(deep=True).embedding,
    "a node's dict": lambda vector: (
        TextNode.from_dict(TextNode(embedding=vector).to_dict()).embedding
    ),
    "a node's JSON": lambda vector: (
        Node.model_validate_json(Node(embedding=vector).model_dump_json()).embedding
    ),
    "a query": lambda vector: (
        QueryBundle.from_json(QueryBundle("", embedding=vector).to_json()).embedding
    ),
}


def rows(least: int = 4) -> st.SearchStrategy[Rows]:
    return st.integers(least, 8).flatmap(
        lambda size: arrays(
            np.float32, st.tuples(st.integers(0, 5), st.just(size)), elements=finite
        )
    )


@given(rows(least=1), st.sampled_from(SPACES))
def test_as_float32_a_marked_vector_is_what_it_was(vectors: Rows, space: EmbeddingSpace) -> None:
    told = marked(vectors, space)
    assert [type(number) for row in told for number in row] == [float] * vectors.size
    back = np.asarray(told, dtype=np.float32).reshape(vectors.shape)
    assert back.tobytes() == vectors.tobytes()


@given(rows(), st.sampled_from(SPACES))
def test_a_marked_vector_tells_its_space_and_a_bare_one_none(
    vectors: Rows, space: EmbeddingSpace
) -> None:
    for vector, bare in zip(marked(vectors, space), vectors, strict=True):
        assert space_of(vector) == (space if bare[:4].all() else None)
        assert space_of(vector[:4]) == space_of(vector)
        assert space_of(bare.tolist()) is space_of(bare) is None


@given(st.lists(st.floats(), max_size=8))
def test_numbers_of_other_models_tell_no_space(vector: list[float]) -> None:
    assert space_of(vector) is None


@pytest.mark.parametrize("journey", JOURNEYS)
@given(vector=st.lists(finite.filter(bool), min_size=4, max_size=6))
def test_the_mark_survives(journey: str, vector: list[float]) -> None:
    (told,) = marked([vector], OLD)
    assert space_of(JOURNEYS[journey](told)) == OLD


def test_what_was_float32_tells_no_space_any_more(make: Make) -> None:
    vector = make(dimensions=256).get_text_embedding(PUMP)
    assert space_of(vector) == NEW
    assert space_of(np.asarray(vector, dtype=np.float32).tolist()) is None
    assert space_of([]) is space_of([1.0, 2.0, 3.0]) is space_of("word") is None  # type: ignore[arg-type]  # anything


def test_every_space_has_a_mark_of_its_own() -> None:
    told = [space_of(marked([[1.0] * 4], space)[0]) for space in SPACES]
    assert told == SPACES


async def test_all_that_the_model_returns_tells_its_space(make: Make, media: Path) -> None:
    model = make(dimensions=256, task_type="CLUSTERING")
    picture = str(media / "red.png")
    contents: list[Any] = [["A pump.", media / "red.png"]]
    bundle = QueryBundle("A pump.")
    vectors = [
        model.get_query_embedding(PUMP),
        await model.aget_query_embedding(PUMP),
        model.get_text_embedding(PUMP),
        await model.aget_text_embedding(PUMP),
        *model.get_text_embedding_batch([PUMP, "A fan."]),
        *await model.aget_text_embedding_batch([PUMP, "A fan."]),
        model.get_agg_embedding_from_queries([PUMP, "A fan."]),
        await model.aget_agg_embedding_from_queries([PUMP, "A fan."]),
        model.get_agg_embedding_from_queries([PUMP, "A fan."], lambda some: some[0]),
        model.get_image_embedding(picture),
        await model.aget_image_embedding(picture),
        *model.get_image_embedding_batch([picture]),
        *await model.aget_image_embedding_batch([picture]),
        *model.get_content_embedding_batch(contents),
        *await model.aget_content_embedding_batch(contents),
        model.get_query_content_embedding(contents[0]),
        await model.aget_query_content_embedding(contents[0]),
        model.get_query_bundle(bundle).embedding,
        (await model.aget_query_bundle(bundle)).embedding,
    ]
    resource = MediaResource(path=media / "red.png")
    nodes = [TextNode(text=PUMP), ImageNode(image_path=picture), Node(image_resource=resource)]
    vectors += [node.embedding for node in model([node.model_copy() for node in nodes])]
    vectors += [node.embedding for node in await model.acall(nodes)]
    assert {str(space_of(vector or [])) for vector in vectors} == {"gemini-embedding-2/CLUSTERING"}


def test_a_mean_of_questions_is_their_mean(make: Make) -> None:
    model = make(dimensions=256)
    one, two = model.get_query_embedding(PUMP), model.get_query_embedding("A fan.")
    mean = model.get_agg_embedding_from_queries([PUMP, "A fan."])
    assert mean == pytest.approx(np.mean([one, two], axis=0), rel=1e-6)


def test_an_empty_text_embedded_as_zeros_is_zeros(make: Make) -> None:
    assert make(dimensions=256, on_empty="zero").get_text_embedding("") == [0.0] * 256


# ---- in a store


@pytest.fixture
def models(make: Make) -> tuple[Gemini2Embedding, Gemini2Embedding]:
    """One of gemini-embedding-001 and one of gemini-embedding-2."""
    return make(model_name="gemini-embedding-001", dimensions=256), make(dimensions=256)


@pytest.fixture(params=["made with the model", "made without a model"])
def store(
    request: pytest.FixtureRequest, models: tuple[Gemini2Embedding, Gemini2Embedding]
) -> Iterator[MatryoshkaVectorStore]:
    """A store of gemini-embedding-2's vectors that holds one node."""
    model = models[1]
    made = (
        MatryoshkaVectorStore(model, tiers=TIERS)
        if request.param == "made with the model"
        else MatryoshkaVectorStore(space=model.space, tiers=TIERS)
    )
    made.add(model([TextNode(id_="pump", text=PUMP)]))
    yield made
    made.close()


BOTH = r"holds vectors of gemini-embedding-2/RETRIEVAL, and .* (is of|makes) gemini-embedding-001/"


def told(error: pytest.ExceptionInfo[IndexMismatchError], store: MatryoshkaVectorStore) -> None:
    """What was refused names the input, and nothing was written."""
    assert error.value.index == 0
    assert "node fan" in str(error.value)
    assert [node.node_id for node in store.get_nodes()] == ["pump"]


async def test_an_index_with_another_models_vectors_is_an_error_when_it_adds(
    store: MatryoshkaVectorStore, models: tuple[Gemini2Embedding, Gemini2Embedding]
) -> None:
    old, _ = models
    fan = TextNode(id_="fan", text="The fan.")
    context = StorageContext.from_defaults(vector_store=store)
    with pytest.raises(IndexMismatchError, match=BOTH) as error:
        VectorStoreIndex([fan], storage_context=context, embed_model=old)
    told(error, store)
    index = VectorStoreIndex.from_vector_store(store, embed_model=old)
    with pytest.raises(IndexMismatchError, match=BOTH) as error:
        index.insert_nodes([fan])
    told(error, store)
    with pytest.raises(IndexMismatchError, match=BOTH) as error:
        await index.ainsert_nodes([fan])
    told(error, store)
    with pytest.raises(IndexMismatchError, match=BOTH) as error:
        IngestionPipeline(transformations=[old], vector_store=store).run(nodes=[fan.model_copy()])
    told(error, store)
    with pytest.raises(IndexMismatchError, match=BOTH) as error:
        await IngestionPipeline(transformations=[old], vector_store=store).arun(nodes=[fan])
    told(error, store)


async def test_an_index_with_another_model_is_an_error_when_it_asks(
    store: MatryoshkaVectorStore, models: tuple[Gemini2Embedding, Gemini2Embedding]
) -> None:
    old, new = models
    index = VectorStoreIndex.from_vector_store(store, embed_model=old)
    for retriever in (index.as_retriever(), MatryoshkaRetriever(index)):
        question = old.get_query_bundle(PUMP)
        for query in (PUMP, QueryBundle(PUMP, custom_embedding_strs=[PUMP, "fan"]), question):
            with pytest.raises(IndexMismatchError, match=BOTH):
                retriever.retrieve(query)
            with pytest.raises(IndexMismatchError, match=BOTH):
                await retriever.aretrieve(query)
    index = VectorStoreIndex.from_vector_store(store, embed_model=new)
    for retriever in (index.as_retriever(), MatryoshkaRetriever(index)):
        assert [found.node.node_id for found in retriever.retrieve(PUMP)] == ["pump"]
        assert [found.node.node_id for found in await retriever.aretrieve(PUMP)] == ["pump"]


async def test_a_task_of_another_family_is_another_space(
    store: MatryoshkaVectorStore, make: Make
) -> None:
    index = VectorStoreIndex.from_vector_store(
        store, embed_model=make(dimensions=256, task_type="CLUSTERING")
    )
    with pytest.raises(IndexMismatchError, match="gemini-embedding-2/CLUSTERING"):
        index.as_retriever().retrieve(PUMP)
    with pytest.raises(IndexMismatchError, match="gemini-embedding-2/CLUSTERING"):
        await index.as_retriever().aretrieve(PUMP)


def test_one_strange_node_among_many_is_named_and_none_is_stored(
    store: MatryoshkaVectorStore, models: tuple[Gemini2Embedding, Gemini2Embedding]
) -> None:
    old, new = models
    nodes = [TextNode(id_=name, text=name) for name in ("fan", "valve", "sieve")]
    new(nodes[:2])
    old(nodes[2:])
    with pytest.raises(IndexMismatchError, match="node sieve") as error:
        store.add(nodes)
    assert error.value.index == 2
    assert store.collection.count() == 1


def test_an_index_over_the_old_models_store_works_and_refuses_the_new(
    models: tuple[Gemini2Embedding, Gemini2Embedding],
) -> None:
    old, new = models
    with MatryoshkaVectorStore(old, tiers=TIERS).collection as collection:
        store = MatryoshkaVectorStore(collection=collection)
        index = VectorStoreIndex(
            [TextNode(id_="pump", text=PUMP)],
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=old,
        )
        assert index.as_retriever().retrieve(PUMP)[0].node.node_id == "pump"
        with pytest.raises(IndexMismatchError, match="holds vectors of gemini-embedding-001"):
            store.add(new([TextNode(text="The fan.")]))


def test_bare_vectors_go_on_as_before(store: MatryoshkaVectorStore) -> None:
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=256))
    index.insert_nodes([TextNode(id_="fan", text="The fan.")])
    assert {found.node.node_id for found in index.as_retriever().retrieve(PUMP)} == {"pump", "fan"}
    with pytest.raises(InvalidInputError):
        store.query(VectorStoreQuery(query_embedding=["word"] * 256))  # type: ignore[list-item]  # a mistake


# ---- where LlamaIndex keeps embeddings


def test_other_stores_take_marked_vectors_and_give_back_what_they_took(
    emulator: Emulator, tmp_path: Path, models: tuple[Gemini2Embedding, Gemini2Embedding]
) -> None:
    _, new = models
    index = VectorStoreIndex([TextNode(id_="pump", text=PUMP)], embed_model=new)
    index.storage_context.persist(tmp_path)
    kept = SimpleVectorStore.from_persist_path(str(tmp_path / "default__vector_store.json"))
    assert space_of(kept.get("pump")) == NEW
    assert index.as_retriever().retrieve(PUMP)[0].score == pytest.approx(1.0, abs=0.5)
    assert len(items(emulator)) == 2


def test_a_pipelines_cache_and_docstore_keep_the_mark(
    emulator: Emulator, tmp_path: Path, make: Make
) -> None:
    model = make(dimensions=256, ingestion_cache=True)
    pipeline = IngestionPipeline(transformations=[model])
    nodes = [TextNode(id_=name, text=name) for name in ("pump", "fan")]
    first = pipeline.run(nodes=[node.model_copy() for node in nodes])
    pipeline.persist(str(tmp_path))
    again = IngestionPipeline(transformations=[model])
    again.load(str(tmp_path))
    cached = again.run(nodes=nodes)
    assert len(items(emulator)) == 2
    assert [node.embedding for node in cached] == [node.embedding for node in first]
    kept = SimpleDocumentStore()
    kept.add_documents(cached)
    kept.persist(str(tmp_path / "docs.json"))
    back = SimpleDocumentStore.from_persist_path(str(tmp_path / "docs.json")).docs.values()
    for node in (*first, *cached, *back):
        assert space_of(node.embedding or []) == NEW
