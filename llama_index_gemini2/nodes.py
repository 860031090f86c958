"""What is embedded of a LlamaIndex node: text with metadata, then media; its title, its kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llama_index.core.base.llms.types import BaseContentBlock
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    TextNode,
)
from pydantic import AnyUrl

from gemini2_core.index.modalities import modalities_of
from gemini2_core.model import Modality

__all__ = ["NodePart", "node_content", "node_modalities"]

NodePart = str | Path | MediaResource | BaseContentBlock


def node_content(
    node: BaseNode, title_keys: Sequence[str] = ("title",)
) -> tuple[list[NodePart], str | None]:
    """The parts of a node, and the title to tell the model.

    The text is what the framework itself embeds (``get_content(MetadataMode.EMBED)``), the media
    follow it. The title is the first of ``title_keys`` that the node's metadata has and doesn't
    exclude from embedding; it then isn't repeated in the text. A node that is nothing but a
    medium and a title keeps the title in its text: a prompt needs text to lead.

    Args:
        node: Any node; a class with ``get_content_blocks`` of its own is asked for them.
        title_keys: Metadata keys, the first that is there counts.
    """
    for key in title_keys:
        title = str(node.metadata.get(key) or "").strip()
        if not title or key in node.excluded_embed_metadata_keys:
            continue
        excluded = [*node.excluded_embed_metadata_keys, key]
        untitled = node.model_copy(update={"excluded_embed_metadata_keys": excluded})
        parts = _parts(untitled)
        if parts and not isinstance(parts[0], Path | MediaResource):
            return parts, title
        break
    return _parts(node), None


def node_modalities(node: BaseNode) -> list[str]:
    """What a node holds (``"text"``, ``"image"``, …), in its text and as its own resources."""
    own: set[Modality] = set()
    if isinstance(node, ImageNode) and _image(node) is not None:
        own.add(Modality.IMAGE)
    if isinstance(node, Node):
        resources = {
            Modality.IMAGE: node.image_resource,
            Modality.AUDIO: node.audio_resource,
            Modality.VIDEO: node.video_resource,
        }
        own |= {modality for modality, resource in resources.items() if resource is not None}
    return modalities_of(node.get_content(MetadataMode.NONE), node.metadata, own)


def _parts(node: BaseNode) -> list[NodePart]:
    ask = type(node).get_content_blocks
    if ask is ImageNode.get_content_blocks and isinstance(node, ImageNode):
        # Its blocks leave its text out, and fetch its URL from wherever it leads.
        return [*_text(node), *_resources(_image(node))]
    if ask is Node.get_content_blocks and isinstance(node, Node):
        # The resources themselves: a block checks its path in its own words.
        return [
            *_text(node),
            *_resources(node.image_resource, node.audio_resource, node.video_resource),
        ]
    if ask is TextNode.get_content_blocks:
        return [*_text(node)]
    return [*node.get_content_blocks(MetadataMode.EMBED)]


def _text(node: BaseNode) -> list[str]:
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    # A node without a text resource says nothing of its metadata.
    text = text or node.get_metadata_str(MetadataMode.EMBED)
    return [text] if text.strip() else []


def _image(node: ImageNode) -> MediaResource | None:
    if node.image is None and node.image_path is None and node.image_url is None:
        return None
    return MediaResource.model_validate(
        {
            "data": None if node.image is None else node.image.encode(),
            "path": node.image_path,
            "url": None if node.image_url is None else AnyUrl(str(node.image_url)),
            "mimetype": node.image_mimetype,
        }
    )


def _resources(*resources: MediaResource | None) -> list[Path | MediaResource]:
    found: list[Path | MediaResource] = []
    for resource in resources:
        if resource is None:
            continue
        if resource.data or (resource.url and not resource.path):
            found.append(resource)
        elif resource.path:
            # The bytes tell the type; the resource's own was guessed from the file's name.
            found.append(resource.path)
    return found
