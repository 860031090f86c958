"""Nodes as points of a collection, and points as the nodes they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import VectorStoreQueryResult
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from gemini2_core.errors import IndexMismatchError, InvalidInputError
from gemini2_core.index import Payload, Record, Results
from gemini2_core.index.ids import ID_KEY, point_id
from gemini2_core.index.modalities import MODALITIES_KEY
from llama_index_gemini2.nodes import node_modalities

__all__ = ["to_node", "to_points", "to_result", "to_words"]


def to_points(
    nodes: Sequence[BaseNode],
) -> tuple[list[str], npt.NDArray[np.float32], list[Payload]]:
    """Ids, vectors of shape (n, d) and payloads.

    Raises:
        InvalidInputError: A node without an embedding, or with one of another length.
    """
    rows: list[list[float]] = []
    for index, node in enumerate(nodes):
        if node.embedding is None:
            raise InvalidInputError(
                f"node {node.node_id} has no embedding: call the embedding model with the nodes, "
                "or put it last in the pipeline"
            ).at(index)
        if rows and len(node.embedding) != len(rows[0]):
            raise InvalidInputError(
                f"node {node.node_id} has {len(node.embedding)} numbers, others {len(rows[0])}"
            ).at(index)
        rows.append(node.embedding)
    # Without its vector, which would be told in the node's JSON as it is dumped.
    bare = (node.model_copy(update={"embedding": None}) for node in nodes)
    payloads: list[Payload] = [
        {**node_to_metadata_dict(node), MODALITIES_KEY: node_modalities(node)} for node in bare
    ]
    for node, payload in zip(nodes, payloads, strict=True):
        if point_id(node.node_id) != node.node_id:
            # Where the id is kept; the node's own JSON has the metadata's field.
            payload.pop(ID_KEY, None)
    return [node.node_id for node in nodes], np.asarray(rows, dtype=np.float32), payloads


def to_node(record: Record) -> BaseNode:
    """The node that a point was.

    Raises:
        IndexMismatchError: It was none.
    """
    try:
        return metadata_dict_to_node(record.payload)
    except ValueError as error:
        raise IndexMismatchError(
            f"point {record.id!r} isn't a node of LlamaIndex: another framework wrote it"
        ) from error


def to_result(hits: Results) -> VectorStoreQueryResult:
    """What a search found, as LlamaIndex's stores return it."""
    nodes = [to_node(hit) for hit in hits]
    return VectorStoreQueryResult(
        nodes=nodes,
        similarities=[hit.score for hit in hits],
        ids=[node.node_id for node in nodes],
    )


def to_words(nodes: Sequence[BaseNode]) -> list[str]:
    """The words of each node for BM25: those that LlamaIndex would embed."""
    return [node.get_content(MetadataMode.EMBED) for node in nodes]
