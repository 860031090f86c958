"""``NodesSource``: LlamaIndex nodes as a corpus, with the payload that its vector store writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import TypeAlias, cast

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from gemini2_core.content import ContentLike
from gemini2_core.corpus.item import Item
from gemini2_core.corpus.sources.documents import again
from gemini2_core.corpus.sources.reading import Broken, CheckedSource, Found, Policy
from gemini2_core.errors import InvalidInputError
from gemini2_core.index import Payload
from llama_index_gemini2.nodes import node_content

__all__ = ["NodesSource"]

_Nodes: TypeAlias = "Iterable[BaseNode] | Callable[[], Iterable[BaseNode]]"


class NodesSource(CheckedSource):
    """LlamaIndex nodes; the finished collection opens as ``MatryoshkaVectorStore``.

    What is embedded of a node is what ``Gemini2Embedding`` embeds when it is called with nodes:
    the text with its metadata, then the media. Ids are the nodes' own; a node that is made anew
    with another id is another node.

    Args:
        nodes: A list, or a function that gives them anew each time, for more than memory holds.
        name: What messages and checkpoints call it.
        title_keys: Metadata keys with the title, as ``Gemini2Embedding(title_metadata_keys=…)``.
        policy: What becomes of a node that can't be embedded.

    Raises:
        ConfigurationError: An iterator, which could be read only once.
    """

    def __init__(
        self,
        nodes: _Nodes,
        *,
        name: str = "nodes",
        title_keys: Sequence[str] = ("title",),
        policy: Policy | None = None,
    ) -> None:
        again(nodes, name)  # refused now, not when the run has begun
        self._nodes = nodes
        self._title_keys = tuple(title_keys)
        super().__init__(name, policy)

    def _where(self, place: int) -> str:
        return f"{self._name}, node {place}"

    def _counted(self) -> int | None:
        given: object = self._nodes
        return len(given) if isinstance(given, Sized) else None

    def _found(self) -> Iterator[Found | Broken]:
        for number, node in enumerate(again(self._nodes, self._name)):
            try:
                yield Found(number, self._item(node))
            except InvalidInputError as error:
                yield Broken(number, str(error))

    def _item(self, node: BaseNode) -> Item:
        if not isinstance(node, BaseNode):
            raise InvalidInputError(f"a node is wanted, not {type(node).__name__}")
        parts, title = node_content(node, self._title_keys)
        content: ContentLike = "" if not parts else parts[0] if len(parts) == 1 else parts
        # Without its vector, which would be told in the node's JSON.
        bare = node.model_copy(update={"embedding": None})
        try:
            payload = cast("Payload", node_to_metadata_dict(bare))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the node isn't JSON: {error}") from error
        return Item(node.node_id, content, title, payload)
