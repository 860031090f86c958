"""Nodes: what of them is embedded, in pipelines and indices."""

from __future__ import annotations

import base64
import multiprocessing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import (
    Document,
    SimpleDirectoryReader,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.base.llms.types import BaseContentBlock, ImageBlock, TextBlock
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    QueryBundle,
    TextNode,
)

from gemini2_core.emulator import Emulator
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from tests.llama_index.conftest import Make
from tests.samples import png
from tests.wire import KEY, kinds, sent, texts


def everything(media: Path) -> Node:
    return Node(
        text_resource=MediaResource(text="The pump when idle"),
        image_resource=MediaResource(path=media / "red.png"),
        audio_resource=MediaResource(path=media / "idle.wav"),
    )


def test_a_node_with_all_its_media_is_one_vector(
    make: Make, emulator: Emulator, media: Path
) -> None:
    model = make()
    node = everything(media)
    assert model([node]) == [node]
    assert [kinds(parts) for parts in sent(emulator)] == [
        ["title: none | text: The pump when idle", "image/png", "audio/wav"]
    ]
    assert node.embedding == model.get_content_embedding(
        ["The pump when idle", media / "red.png", media / "idle.wav"]
    )


async def test_acall_does_the_same(make: Make, media: Path) -> None:
    model = make()
    now, later = everything(media), everything(media)
    model([now])
    await model.acall([later])
    assert later.embedding == now.embedding is not None


def test_a_mixed_list_is_embedded_in_place(make: Make, emulator: Emulator, media: Path) -> None:
    nodes: list[BaseNode] = [
        TextNode(text="alone"),
        ImageNode(image_path=str(media / "red.png"), text="with its caption"),
        ImageNode(image=base64.b64encode(png(0, 255)).decode()),
        ImageDocument(image_path=str(media / "blue.png")),
        Node(audio_resource=MediaResource(path=media / "idle.wav")),
    ]
    make()(nodes)
    assert [kinds(parts) for parts in sent(emulator)] == [
        ["title: none | text: alone"],
        ["title: none | text: with its caption", "image/png"],
        ["image/png"],
        ["image/png"],
        ["audio/wav"],
    ]
    vectors = [node.embedding for node in nodes]
    assert all(vector is not None and len(vector) == 768 for vector in vectors)
    assert len({tuple(vector or ()) for vector in vectors}) == len(nodes)


def test_text_is_what_the_framework_embeds_and_the_title_goes_to_the_prompt(
    make: Make, emulator: Emulator
) -> None:
    node = TextNode(
        text="It hums.",
        metadata={"title": "Fuel pump", "chapter": "28", "file": "x.md"},
        excluded_embed_metadata_keys=["file"],
    )
    make()([node])
    make(title_metadata_keys=())([node])
    make(title_metadata_keys="chapter")([TextNode(text="x", metadata={"chapter": 28})])
    make(title_metadata_keys=("heading", "chapter"))([node])
    assert texts(emulator) == [
        "title: Fuel pump | text: chapter: 28\n\nIt hums.",
        f"title: none | text: {node.get_content(MetadataMode.EMBED)}",
        "title: 28 | text: x",
        "title: 28 | text: title: Fuel pump\n\nIt hums.",
    ]
    assert node.excluded_embed_metadata_keys == ["file"]


def test_a_title_excluded_from_embedding_isn_t_told(make: Make, emulator: Emulator) -> None:
    node = TextNode(
        text="It hums.",
        metadata={"title": "Fuel pump"},
        excluded_embed_metadata_keys=["title"],
    )
    make()([node])
    assert texts(emulator) == ["title: none | text: It hums."]


def test_a_picture_with_nothing_but_a_title_keeps_it_as_text(
    make: Make, emulator: Emulator, media: Path
) -> None:
    make()([ImageNode(image_path=str(media / "red.png"), metadata={"title": "Pump"})])
    assert kinds(sent(emulator)[0]) == ["title: none | text: title: Pump", "image/png"]


class _Interleaved(TextNode):
    """A node that says its own blocks."""

    first: str
    then: str

    def get_content_blocks(
        self, metadata_mode: MetadataMode = MetadataMode.NONE
    ) -> list[BaseContentBlock]:
        return [
            ImageBlock(path=Path(self.first)),
            TextBlock(text=self.text),
            ImageBlock(path=Path(self.then)),
        ]


def test_a_class_s_own_blocks_are_kept_in_order(
    make: Make, emulator: Emulator, media: Path
) -> None:
    first, then = str(media / "red.png"), str(media / "blue.png")
    node = _Interleaved(text="turns into", first=first, then=then)
    model = make()
    model([node])
    assert kinds(sent(emulator)[0]) == ["image/png", "turns into", "image/png"]
    emulator.reset()
    other = _Interleaved(text="turns into", first=then, then=first)
    model([other])
    assert other.embedding != node.embedding


def test_markdown_media_are_read_with_a_media_root(
    make: Make, emulator: Emulator, media: Path
) -> None:
    node = TextNode(text="Red ![red](red.png) and ![hum](idle.wav)")
    make(media_root=media)([node])
    make()([node])
    assert [kinds(parts) for parts in sent(emulator)] == [
        ["title: none | text: Red ", "image/png", " and ", "audio/wav"],
        [f"title: none | text: {node.text}"],
    ]


def test_an_empty_node_is_an_error_that_names_it_or_is_skipped(make: Make) -> None:
    nodes = [TextNode(text="a"), TextNode(id_="the-blank-one"), TextNode(text="b")]
    with pytest.raises(InvalidInputError, match="input 1") as caught:
        make()(nodes)
    assert caught.value.__notes__ == ["input 1 is the node the-blank-one"]
    make(on_empty="skip")(nodes)
    assert [node.embedding is not None for node in nodes] == [True, False, True]
    make(on_empty="zero")(nodes)
    assert nodes[1].embedding == [0.0] * 768


def test_a_picture_whose_bytes_were_lost_is_an_error(make: Make) -> None:
    node = Node(image_resource=MediaResource(data=png(255)))
    reloaded = Node.from_dict(node.to_dict())  # the framework drops the bytes
    with pytest.raises(InvalidInputError, match="input 0"):
        make()([reloaded])


def test_a_missing_file_and_a_remote_picture_are_told_clearly(make: Make, media: Path) -> None:
    gone = Node(image_resource=MediaResource(path=media / "gone.png"))
    with pytest.raises(MediaNotFoundError, match=r"gone\.png"):
        make()([gone])
    remote = ImageNode(image_url="https://example.invalid/pump.png")
    with pytest.raises(MediaAccessError, match="allow_remote"):
        make()([remote])


def test_a_link_out_of_the_media_root_is_refused(make: Make, media: Path) -> None:
    (media / "inside").mkdir()
    with pytest.raises(MediaAccessError, match="media_root"):
        make(media_root=media / "inside").get_text_embedding("![x](../red.png)")


def test_pictures_never_share_a_vector(make: Make, media: Path) -> None:
    """The pipeline's own cache knows nothing but text: two pictures look alike to it."""
    pipeline = IngestionPipeline(transformations=[make()])
    (red,) = pipeline.run(nodes=[ImageNode(image_path=str(media / "red.png"))])
    (blue,) = pipeline.run(nodes=[ImageNode(image_path=str(media / "blue.png"))])
    assert red.id_ != blue.id_
    assert red.embedding != blue.embedding


def test_the_pipeline_s_cache_may_be_let_in(make: Make, emulator: Emulator) -> None:
    pipeline = IngestionPipeline(transformations=[make(ingestion_cache=True)])
    nodes = [TextNode(text="a"), TextNode(text="b")]
    first = pipeline.run(nodes=nodes)
    emulator.reset()
    again = pipeline.run(nodes=nodes)
    assert [node.embedding for node in again] == [node.embedding for node in first]
    assert emulator.requests == []


async def test_a_pipeline_splits_and_embeds(make: Make) -> None:
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=8), make()]
    )
    documents = [Document(text="The pump feeds the engine. " * 40, metadata={"title": "Pump"})]
    nodes = await pipeline.arun(documents=documents)
    assert len(nodes) > 2
    assert all(node.embedding is not None and len(node.embedding) == 768 for node in nodes)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(multiprocessing.cpu_count() < 2, reason="the framework caps workers by CPUs")
def test_a_pipeline_with_worker_processes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    model = make(api_key=None)
    model.get_text_embedding("the loop and its thread run before the fork")
    nodes = [TextNode(text=f"part {n}") for n in range(6)]
    done = IngestionPipeline(transformations=[model]).run(nodes=nodes, num_workers=2)
    assert [node.embedding for node in done] == model.get_text_embedding_batch(
        [f"part {n}" for n in range(6)]
    )


def test_an_index_is_built_kept_reloaded_and_queried(make: Make, tmp_path: Path) -> None:
    model = make()
    documents = [
        Document(text="the fuel pump is noisy"),
        Document(text="an invoice of the hotel"),
        Document(text="the weather in spring"),
    ]
    index = VectorStoreIndex.from_documents(documents, embed_model=model)
    index.storage_context.persist(str(tmp_path / "index"))
    storage = StorageContext.from_defaults(persist_dir=str(tmp_path / "index"))
    again = load_index_from_storage(storage, embed_model=model)
    for each in (index, again):
        hits = each.as_retriever(similarity_top_k=1).retrieve("which pump is noisy?")
        assert hits[0].node.get_content() == "the fuel pump is noisy"


async def test_an_index_honours_what_the_model_has_embedded(
    make: Make, emulator: Emulator, media: Path
) -> None:
    model = make()
    picture = ImageNode(image_path=str(media / "red.png"), text="a picture")
    model([picture])
    emulator.reset()
    index = VectorStoreIndex([picture, TextNode(text="a text")], embed_model=model)
    assert texts(emulator) == ["title: none | text: a text"]
    query = await model.aget_query_bundle(media / "red.png")
    (hit,) = await index.as_retriever(similarity_top_k=1).aretrieve(query)
    assert hit.node.id_ == picture.id_


def test_an_index_reads_markdown_with_a_media_root(
    make: Make, emulator: Emulator, media: Path
) -> None:
    model = make(media_root=media)
    VectorStoreIndex([TextNode(text="Red: ![red](red.png)")], embed_model=model)
    assert kinds(sent(emulator)[0]) == ["title: none | text: Red: ", "image/png"]
    emulator.reset()
    model.get_query_embedding("![red](red.png)")  # a stranger's link
    assert kinds(sent(emulator)[0]) == ["task: search result | query: ![red](red.png)"]


def test_a_query_bundle_s_picture_counts(make: Make, emulator: Emulator, media: Path) -> None:
    model = make()
    asked = QueryBundle("which part is this?", image_path=str(media / "red.png"))
    ready = model.get_query_bundle(asked)
    assert kinds(sent(emulator)[0]) == [
        "task: search result | query: which part is this?",
        "image/png",
    ]
    assert asked.embedding is None
    assert ready.embedding == model.get_query_content_embedding(
        ["which part is this?", media / "red.png"]
    )
    assert ready.query_str == asked.query_str
    assert model.get_query_bundle(["and this?", media / "red.png"]).query_str == "and this?"


def test_a_query_s_markdown_is_read_where_the_caller_says_so(
    make: Make, emulator: Emulator, media: Path
) -> None:
    asked = "Which ![part](red.png)?"
    bundle = make(media_root=media).get_query_bundle(asked)
    assert kinds(sent(emulator)[0]) == [f"task: search result | query: {asked}"]
    emulator.reset()
    trusted = make(media_root=media, media_in_queries=True).get_query_bundle(asked)
    assert kinds(sent(emulator)[0]) == ["task: search result | query: Which ", "image/png", "?"]
    assert bundle.query_str == trusted.query_str == asked


def test_a_multimodal_index_takes_it_for_its_pictures(make: Make, media: Path) -> None:
    model = make()
    nodes = [
        # Without a text the framework drops them.
        ImageNode(image_path=str(media / "red.png"), text="Figure 1"),
        ImageNode(image_path=str(media / "blue.png"), text="Figure 2"),
        TextNode(text="the fuel pump is noisy"),
    ]
    index = MultiModalVectorStoreIndex(nodes, embed_model=model, image_embed_model=model)
    retriever: Any = index.as_retriever(similarity_top_k=1, image_similarity_top_k=1)
    (hit,) = retriever.image_to_image_retrieve(str(media / "blue.png"))
    assert hit.node.image_path == str(media / "blue.png")
    assert any("pump" in h.node.get_content() for h in retriever.retrieve("a noisy pump"))


async def test_pictures_one_by_one_and_in_lists(
    make: Make, emulator: Emulator, media: Path
) -> None:
    import io

    model = make()
    red, blue = str(media / "red.png"), str(media / "blue.png")
    one = model.get_image_embedding(red)
    assert kinds(sent(emulator)[0]) == ["image/png"]
    assert await model.aget_image_embedding(red) == one
    assert model.get_image_embedding(io.BytesIO(png(255))) == one
    both = model.get_image_embedding_batch([red, blue])
    assert both[0] == one != both[1]
    assert await model.aget_image_embedding_batch([red, blue]) == both
    with pytest.raises(MediaNotFoundError, match="input 1"):
        model.get_image_embedding_batch([red, str(media / "gone.png")])


async def test_one_picture_in_place_of_a_list_isn_t_read_letter_by_letter(
    make: Make, emulator: Emulator, media: Path
) -> None:
    model = make()
    one: Any
    for one in (str(media / "red.png"), media / "red.png", BytesIO(png(255)), png(255)):
        with pytest.raises(InvalidInputError, match=f"not one {type(one).__name__}"):
            model.get_image_embedding_batch(one)
        with pytest.raises(InvalidInputError, match="put it in"):
            await model.aget_image_embedding_batch(one)
    assert not emulator.requests


async def test_contents_joint_and_apart(make: Make, emulator: Emulator, media: Path) -> None:
    model = make()
    content = ["The pump", media / "red.png"]
    joint = model.get_content_embedding(content, title="Fuel")
    assert kinds(sent(emulator)[0]) == ["title: Fuel | text: The pump", "image/png"]
    assert await model.aget_content_embedding(content, title="Fuel") == joint
    (mean,) = model.get_content_embedding_batch([content], ["Fuel"], aggregate="mean")
    assert (await model.aget_content_embedding_batch([content], ["Fuel"], aggregate="mean")) == [
        mean
    ]
    apart = np.mean(
        [
            model.get_content_embedding("The pump", title="Fuel"),
            model.get_image_embedding(str(media / "red.png")),
        ],
        axis=0,
    )
    np.testing.assert_allclose(mean, apart / np.linalg.norm(apart), atol=1e-6)
    assert mean != joint
    query = model.get_query_content_embedding(content)
    assert await model.aget_query_content_embedding(content) == query != joint


def test_callbacks_tell_media_by_where_they_are(make: Make, media: Path) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    model = make(callback_manager=CallbackManager([debug]))
    model([everything(media)])
    vector = model.get_image_embedding(str(media / "red.png"))
    (_, node), (_, picture) = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert node.payload is not None
    assert picture.payload is not None
    assert node.payload[EventPayload.CHUNKS] == [
        f"The pump when idle {media / 'red.png'} {media / 'idle.wav'}"
    ]
    assert picture.payload[EventPayload.CHUNKS] == [str(media / "red.png")]
    assert picture.payload[EventPayload.EMBEDDINGS] == [vector]


def test_a_folder_read_by_the_framework(make: Make, tmp_path: Path) -> None:
    (tmp_path / "pump.md").write_text("The pump feeds the engine.")
    documents = SimpleDirectoryReader(str(tmp_path)).load_data()
    assert all(node.embedding for node in make()(documents))
