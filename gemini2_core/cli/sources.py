"""Options that say what a corpus is: paths, or a collection that is there."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gemini2_core.cli.options import add_address, address
from gemini2_core.errors import ConfigurationError

if TYPE_CHECKING:
    from gemini2_core.corpus import Source

__all__ = ["add_source", "source"]

_COLUMNS = ("column", "id-column", "title-column", "metadata-columns", "delimiter")


def add_source(parser: argparse.ArgumentParser, prefix: str = "", *, lenient: bool = False) -> None:
    """Paths, and the options of a collection, ``--PREFIXpath`` or ``--PREFIXurl``; see ``source``.

    ``--media-root`` is the embedding's (``add_embedding``), and counts here too. What can't be
    read is an error unless ``--skip-bad`` is said; ``lenient`` always leaves it out.
    """
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="files and folders (Markdown, HTML, PDF, media), BEIR's corpus.jsonl, or a table",
    )
    group = parser.add_argument_group("what is read")
    add = group.add_argument
    add("--column", metavar="NAME", help="column of a table (CSV, TSV, parquet, JSONL): the texts")
    add("--id-column", metavar="NAME", help="its column with the ids")
    add("--title-column", metavar="NAME", help="its column with the titles")
    add(
        "--metadata-columns",
        nargs="+",
        default=(),
        metavar="NAME",
        help="its columns that are stored beside the vectors",
    )
    add("--delimiter", metavar="CHAR", help="between its cells (by the suffix: comma or tab)")
    add("--encoding", default="utf-8", help="of CSV, TSV and JSONL (%(default)s)")
    add("--collection", metavar="NAME", help="a Qdrant collection that holds its texts")
    add("--text-key", metavar="FIELD", help="the field with the text, if it can't be seen")
    if lenient:
        parser.set_defaults(skip_bad=True)
    else:
        add("--skip-bad", action="store_true", help="leave out what can't be read, and say so")
    add_address(parser, prefix)


def source(options: argparse.Namespace, prefix: str = "") -> Source:
    """The source that the options of ``add_source`` say.

    Raises:
        ConfigurationError: Paths and a collection, or neither; an option of the other one.
        InvalidInputError: A path isn't there, or a table's column isn't named.
    """
    from gemini2_core.corpus import CollectionSource, Policy, open_source

    policy = Policy.lenient() if options.skip_bad else None
    media_root = getattr(options, "media_root", None)
    if bool(options.paths) == (options.collection is not None):
        raise ConfigurationError("give paths, or --collection with its address; one of them")
    others: tuple[str, ...] = (f"{prefix}path", f"{prefix}url", "text-key")
    of = "a --collection"
    if options.collection is not None:
        others, of = _COLUMNS, "files"
    for name in others:
        if getattr(options, name.replace("-", "_")):
            raise ConfigurationError(f"--{name} is of {of}, which isn't given")
    if options.collection is not None:
        return CollectionSource(
            options.collection,
            **address(options, prefix),
            text_key=options.text_key,
            media_root=media_root,
            policy=policy,
        )
    return open_source(
        *options.paths,
        column=options.column,
        id_column=options.id_column,
        title_column=options.title_column,
        metadata_columns=options.metadata_columns,
        delimiter=options.delimiter,
        encoding=options.encoding,
        media_root=media_root,
        policy=policy,
    )
