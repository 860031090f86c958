"""``MultimodalNodeParser``: documents into interleaved nodes that keep every picture."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from llama_index.core.node_parser.interface import NodeParser
from llama_index.core.node_parser.node_utils import default_id_func
from llama_index.core.schema import (
    BaseNode,
    Document,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.utils import get_tqdm_iterable
from pydantic import ConfigDict, Field, PrivateAttr

from gemini2_core.content import ContentLike
from gemini2_core.content.chunking import Chunk, ChunkSettings, Granularity, OnMissing
from gemini2_core.content.chunking.flat import flat_metadata
from gemini2_core.content.chunking.pdf_reader import PdfMode
from gemini2_core.content.chunking.stream import Chunking
from gemini2_core.errors import Gemini2Error, MediaAccessError, MediaNotFoundError
from gemini2_core.model import DEFAULT_MODEL, Backend
from llama_index_gemini2.nodes import node_content

__all__ = ["MultimodalNodeParser", "file_document"]

_NAMESPACE = uuid.UUID("0b9b7c1a-6d6c-5d8e-9d5b-6d6d3d0c2f11")
#: On documents alone: on nodes, it would change those that nothing has changed in.
_DIGEST = "content_sha256"
#: Of the metadata of a chunk, what an embedding model and a chat model are told.
_EMBEDDED = frozenset({"title"})
_TOLD = frozenset({"title", "source", "page", "seconds_start", "seconds_end"})


class MultimodalNodeParser(NodeParser):
    """Cuts documents into nodes whose text carries its media along.

    Takes the place of a ``SentenceSplitter``. A node is a plain ``TextNode``; its text is
    Markdown with its media as links, so that every store, cache and pipeline carries it;
    ``Gemini2Embedding`` with the same ``media_root`` embeds text and media together, and
    ``node_blocks`` shows both to a chat model. Pictures, sounds and films that a document holds
    as resources come after its text.

    A node's id is a UUID made of its source, its place and what is in it, media included: the
    same again for the same, another for a changed picture. PREVIOUS and NEXT lead through a
    document, SOURCE to it; with ``granularity="both"`` PARENT leads from a part to its chunk and
    CHILD back. The metadata are those of the document and, none of them nested, what every store
    takes:

    - ``source``, ``title`` and ``headings`` (``"Fuel system > Pump > Removal"``);
    - ``start`` and ``end``, characters in the source's text; ``chunk_index``;
    - ``page``, ``bbox`` (JSON), ``seconds_start`` and ``seconds_end``, where known;
    - ``media``, JSON of a list, one for each medium: its reference, type, digest and measure.

    Of these the embedding model is told the title alone. A docstore that is to notice changed
    pictures is given ``with_digests(documents)``.

    Args:
        media_root: The folder that links are read from, the embedding model's own. None refuses
            local links.
        media_dir: The folder in it where embedded pictures and ``data:`` URIs are written.
        max_tokens: Most tokens of a node's text, its prompt counted, up to the model's 8,192;
            media count against the model's own limits.
        overlap_sentences: Sentences that a node repeats of the one before it.
        granularity: A node for each ``"chunk"``, for each ``"part"`` of it (text or medium), or
            ``"both"``.
        on_missing: A medium that is missing or unreadable: ``"error"`` (names source and line),
            ``"alt"`` for its alternative text, ``"skip"``.
        allow_remote: Take media at ``https:`` addresses; they are fetched when embedded.
        pdf_mode: ``"pages"`` refers to each page for the model's own reading; ``"text+figures"``
            takes text and pictures out; ``"auto"`` takes pages where there is little text.
        model_name: The model whose limits count.
        backend: The service whose limits count.
        window: Seconds of the windows that sound and film are cut into (film on its key frames).
            None leaves whole what the model takes at once, and cuts the rest into windows of 60 s
            of sound and 32 s of film.
        window_overlap: Seconds that such windows overlap.
        num_workers: Processes that read PDFs.
        ingestion_cache: Let an ``IngestionPipeline`` keep this step's results in its own cache.
            Its key is the documents' text alone, so two pictures without text would be the same
            to it, and a changed picture as before: leave it off where documents hold media.
        **more: ``include_metadata``, ``include_prev_next_rel``, ``callback_manager``,
            ``id_func``, as in every node parser, and fields of subclasses.

    Raises:
        ConfigurationError: An argument that can't work.

    Example:
        >>> from llama_index_gemini2 import MultimodalNodeParser
        >>> parser = MultimodalNodeParser(media_root="manual/")  # doctest: +SKIP
        >>> nodes = parser.get_nodes_from_documents(documents)  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    media_root: str | None = Field(default=None, frozen=True)
    media_dir: str | None = Field(default=None, frozen=True)
    max_tokens: int = Field(default=2048, frozen=True)
    overlap_sentences: int = Field(default=0, frozen=True)
    granularity: Granularity = Field(default="chunk", frozen=True)
    on_missing: OnMissing = Field(default="error", frozen=True)
    allow_remote: bool = Field(default=False, frozen=True)
    pdf_mode: PdfMode = Field(default="auto", frozen=True)
    model_name: str = Field(default=DEFAULT_MODEL, frozen=True)
    backend: Backend = Field(default=Backend.GEMINI_API, frozen=True)
    window: float | None = Field(default=None, frozen=True)
    window_overlap: float = Field(default=0.0, frozen=True)
    num_workers: int | None = Field(default=None, frozen=True)
    ingestion_cache: bool = Field(default=False, frozen=True)

    _chunking: Chunking = PrivateAttr()

    def __init__(
        self,
        media_root: str | os.PathLike[str] | None = None,
        *,
        media_dir: str | os.PathLike[str] | None = None,
        max_tokens: int = 2048,
        overlap_sentences: int = 0,
        granularity: Granularity = "chunk",
        on_missing: OnMissing = "error",
        allow_remote: bool = False,
        pdf_mode: PdfMode = "auto",
        model_name: str = DEFAULT_MODEL,
        backend: Backend | str = Backend.GEMINI_API,
        window: float | None = None,
        window_overlap: float = 0.0,
        num_workers: int | None = None,
        ingestion_cache: bool = False,
        **more: Any,
    ) -> None:
        chunking = Chunking(
            settings=ChunkSettings(
                max_tokens=max_tokens,
                overlap_sentences=overlap_sentences,
                granularity=granularity,
                heading_line=False,  # the framework tells the title, which is in the metadata
                model=model_name,
                backend=Backend(backend),
            ),
            media_root=media_root,
            media_dir=media_dir,
            on_missing=on_missing,
            allow_remote=allow_remote,
            pdf_mode=pdf_mode,
            window=window,
            window_overlap=window_overlap,
            num_workers=num_workers,
        )
        super().__init__(
            media_root=None if media_root is None else os.fspath(media_root),
            media_dir=None if media_dir is None else os.fspath(media_dir),
            max_tokens=max_tokens,
            overlap_sentences=overlap_sentences,
            granularity=granularity,
            on_missing=on_missing,
            allow_remote=allow_remote,
            pdf_mode=pdf_mode,
            window=window,
            window_overlap=window_overlap,
            model_name=model_name,
            backend=chunking.settings.backend,
            num_workers=num_workers,
            ingestion_cache=ingestion_cache,
            **more,
        )
        self._chunking = chunking

    @classmethod
    def class_name(cls) -> str:
        """Name in serialized form."""
        return "MultimodalNodeParser"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Every argument.

        An ``IngestionPipeline`` makes its cache's key from this and the documents' text, blind to
        media; unless ``ingestion_cache`` is on, ``cache_salt`` is new each time, so that it never
        finds one picture's nodes for another.
        """
        data = super().to_dict(**kwargs)
        if not self.ingestion_cache:
            data["cache_salt"] = uuid.uuid4().hex
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Read ``to_dict`` back; a function for ids isn't in it."""
        kept = {k: v for k, v in data.items() if k not in ("cache_salt", "id_func")}
        return super().from_dict(kept, **kwargs)

    def with_digests(self, documents: Iterable[Document]) -> list[Document]:
        """Note the digest of each document's media in its metadata, as ``content_sha256``.

        A docstore compares documents by text and metadata, blind to the files that they name;
        with this it notices a changed picture too. Neither model is told it.

        Raises:
            InvalidInputError: As ``get_nodes_from_documents``.
        """
        noted = []
        for document in documents:
            digest = hashlib.sha256(str(document.metadata.get(_DIGEST, "")).encode())
            for chunk in self._chunks(document):
                for media in chunk.media:
                    known = media.digest or media.identity
                    digest.update(f"{known}#{media.fragment or ''}\n".encode())
            copy = document.model_copy()
            copy.metadata = {**document.metadata, _DIGEST: digest.hexdigest()}
            for keys in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
                setattr(copy, keys, _with(getattr(document, keys), [_DIGEST]))
            noted.append(copy)
        return noted

    # What the framework's own public methods call

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        del kwargs
        made: list[BaseNode] = []
        ids: set[str] = set()
        for index, node in enumerate(get_tqdm_iterable(nodes, show_progress, "Parsing nodes")):
            try:
                made += self._of(node, ids)
            except Gemini2Error as error:
                error.add_note(f"input {index} is the document {node.node_id}")
                raise error.at(index) from error.__cause__
        return made

    async def _aparse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        return await asyncio.to_thread(self._parse_nodes, nodes, show_progress, **kwargs)

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]
    ) -> list[BaseNode]:
        """Nothing: the framework would look for each node's text in its document's."""
        del parent_doc_map
        return nodes

    # How

    def _chunks(self, document: BaseNode) -> Iterator[Chunk]:
        metadata = document.metadata
        return self._chunking.chunks(
            _value(document),
            source=_source(document),
            title=str(metadata.get("title") or "") or None,
            mime_type=_mime_type(document),
        )

    def _of(self, document: BaseNode, ids: set[str]) -> list[BaseNode]:
        """The nodes of one document, linked with each other."""
        source = document.source_node or document.as_related_node_info()
        made: list[TextNode] = []
        by_chunk: dict[str, TextNode] = {}
        parents: list[tuple[TextNode, str]] = []
        for chunk in self._chunks(document):
            node = self._node(chunk, document, self._id(chunk, len(made), document, ids))
            node.relationships[NodeRelationship.SOURCE] = source
            made.append(node)
            by_chunk[chunk.id] = node
            if chunk.parent_id is not None:
                parents.append((node, chunk.parent_id))
        children: dict[str, list[TextNode]] = {}
        for node, parent_id in parents:
            if parent_id in by_chunk:
                children.setdefault(parent_id, []).append(node)
                node.relationships[NodeRelationship.PARENT] = _info(by_chunk[parent_id])
        for parent_id, nodes in children.items():
            by_chunk[parent_id].relationships[NodeRelationship.CHILD] = list(map(_info, nodes))
        if self.include_prev_next_rel:
            parts = {id(node) for nodes in children.values() for node in nodes}
            for level in (
                [node for node in made if id(node) not in parts],
                [node for node in made if id(node) in parts],
            ):
                for before, after in pairwise(level):
                    before.relationships[NodeRelationship.NEXT] = _info(after)
                    after.relationships[NodeRelationship.PREVIOUS] = _info(before)
        return [*made]

    def _id(self, chunk: Chunk, index: int, document: BaseNode, ids: set[str]) -> str:
        if self.id_func is not default_id_func:
            return str(self.id_func(index, document))
        # The pages of one file may come as documents of one source, and be alike.
        identifier, again = chunk.id, 1
        while identifier in ids:
            again += 1
            identifier = str(uuid.uuid5(_NAMESPACE, f"{chunk.id}#{again}"))
        ids.add(identifier)
        return identifier

    def _node(self, chunk: Chunk, document: BaseNode, identifier: str) -> TextNode:
        own = flat_metadata(chunk.metadata())
        untold = own.keys() - _TOLD
        if "source" in document.metadata:
            own["source"] = document.metadata["source"]
        else:
            untold = {*untold, "source"}  # an id, or what file_path says already
        # A medium that is a part of its own is embedded bare, as a query of its kind is.
        bare = chunk.parent_id is not None and not chunk.content.text_only
        theirs = {**document.metadata} if self.include_metadata else {}
        theirs.pop(_DIGEST, None)
        return TextNode(
            id_=identifier,
            text=chunk.text,
            metadata={**theirs, **own},
            excluded_embed_metadata_keys=_with(
                document.excluded_embed_metadata_keys,
                own.keys() - (frozenset() if bare else _EMBEDDED),
            ),
            excluded_llm_metadata_keys=_with(document.excluded_llm_metadata_keys, untold),
            metadata_template=document.metadata_template,
            metadata_separator=document.metadata_separator,
            text_template=getattr(
                document, "text_template", TextNode.model_fields["text_template"].default
            ),
            start_char_idx=chunk.span[0],
            end_char_idx=chunk.span[1],
        )


def file_document(path: str | os.PathLike[str], **metadata: Any) -> Document:
    """A document that refers to a file, to be read by ``MultimodalNodeParser``.

    Args:
        path: Markdown, HTML, a PDF, a picture, a sound, a film, a ``DoclingDocument`` or
            unstructured's elements as JSON.
        **metadata: What goes with every node.

    Returns:
        A document with the same id for the same path; its metadata has the file's digest, so that
        a docstore notices when it changes.

    Raises:
        MediaNotFoundError: Nothing is there.
        MediaAccessError: A folder, or a file that mustn't be read.
    """
    place = Path(path)
    try:
        with place.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise MediaNotFoundError(f"there is no file {place.name!r}") from None
    except OSError as error:
        told = type(error).__name__
        raise MediaAccessError(f"{place.name!r} can't be read: {told}") from None
    return Document(
        id_=str(uuid.uuid5(_NAMESPACE, place.as_posix())),
        text_resource=MediaResource(path=place),
        metadata={"source": place.as_posix(), _DIGEST: digest, **metadata},
        excluded_embed_metadata_keys=["source", _DIGEST],
        excluded_llm_metadata_keys=[_DIGEST],
    )


def _value(document: BaseNode) -> ContentLike:
    """What is read of a document: its text, the file it refers to, or its text and media."""
    resource = document.text_resource if isinstance(document, Node) else None
    if resource is not None and resource.text is None and resource.path is not None:
        return resource.path
    bare = document.model_copy(update={"metadata": {}})
    parts = [*node_content(bare, ())[0]]
    if not parts:
        return ""
    return parts[0] if len(parts) == 1 else parts


def _source(document: BaseNode) -> str:
    """A document's name: its file, with the page that it is of it, or its id."""
    metadata = document.metadata
    for key in ("source", "file_path"):
        name = metadata.get(key)
        if isinstance(name, str) and name:
            page = metadata.get("page_label")
            return f"{name}#page={page}" if page else name
    return document.node_id


def _mime_type(document: BaseNode) -> str | None:
    """Whether a text is a page; readers declare that of text taken out of pages too."""
    resource = document.text_resource if isinstance(document, Node) else None
    text = resource.text if resource is not None else None
    if not text or not text.lstrip().startswith("<"):
        return None
    assert resource is not None
    declared = f"{resource.mimetype} {document.metadata.get('file_type')}"
    return "text/html" if "html" in declared else None


def _info(node: TextNode) -> RelatedNodeInfo:
    """A node's id and digest; its metadata would be stored three times over."""
    return RelatedNodeInfo(node_id=node.node_id, node_type=node.get_type(), hash=node.hash)


def _with(keys: Sequence[str], more: Iterable[str]) -> list[str]:
    return [*keys, *sorted(set(more) - set(keys))]
