"""``gemini2 verify``: a new collection against what should be in it, and against the live one."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from gemini2_core.cli.command import Commands
from gemini2_core.cli.options import Address, add_address, add_embedding, address, embedder
from gemini2_core.cli.sources import add_source, source
from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index import MatryoshkaCollection

if TYPE_CHECKING:
    from gemini2_core.corpus import Source
    from gemini2_core.corpus.switchover.side_by_side import Search

__all__ = ["add"]

_FAILED = 1


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="see whether a new collection is whole, and how its answers differ from the live one",
        description="See whether a new collection holds what it should: the files, the table or "
        "the collection it was made from (at the same address, if none is said). Each id is looked "
        "for on both sides, a sample is embedded anew and compared, and queries are asked of both. "
        "What it finds is noted with the collection, for gemini2 switch. Exit status: 0 if it "
        "passed, 1 if it didn't.",
    )
    parser.add_argument("new", metavar="NEW", help="the new collection")
    add_source(parser, "from-")
    group = parser.add_argument_group("what is looked at")
    option = group.add_argument
    option("--sample", type=int, default=100, metavar="N", help="items embedded anew (%(default)s)")
    option("--seed", type=int, default=0, metavar="N", help="what they are drawn with")
    option("--queries", metavar="FILE", help="questions, one a line, for --collection and NEW")
    option("--k", type=int, default=10, metavar="N", help="results a question (%(default)s)")
    option(
        "--live-model",
        default="gemini-embedding-001",
        metavar="MODEL",
        help="what the vectors of --collection are of (%(default)s)",
    )
    option("--live-vector", metavar="NAME", help="which of its vectors (the only or largest one)")
    option("--json", action="store_true", help="JSON instead of a table")
    option("--quiet", action="store_true", help="no progress bars")
    add_address(parser)
    add_embedding(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from gemini2_core.corpus import CollectionSource, verify

    at = address(options)
    if options.collection is not None and options.from_path is None and options.from_url is None:
        options.from_path, options.from_url, options.from_grpc = (
            options.path,
            options.url,
            options.grpc,
        )
    queries = _queries(options.queries) if options.queries else []
    if queries and options.collection is None:
        raise ConfigurationError("--queries are asked of --collection beside NEW: name it")
    with ExitStack() as opened:
        new = opened.enter_context(_there(options.new, at))
        embedding = opened.enter_context(embedder(options, dimensions=new.dimensions))
        corpus = source(options, "from-")
        if isinstance(corpus, CollectionSource):
            opened.callback(corpus.close)
        live = _live(corpus, options, opened) if queries else None
        try:
            found = verify(
                new,
                source=corpus,
                embedder=embedding,
                sample=options.sample,
                queries=queries,
                live=live,
                k=options.k,
                seed=options.seed,
                show_progress=not options.quiet,
            )
        except InvalidInputError as error:
            if not options.skip_bad:
                error.message += (
                    " (--skip-bad leaves out what can't be read, as gemini2 reindex does)"
                )
            raise
    print(found.to_json() if options.json else found)
    return 0 if found.passed else _FAILED


def _there(name: str, at: Address) -> MatryoshkaCollection:
    collection = MatryoshkaCollection(name, space=None, **at)
    names = sorted({*collection.collections(), *collection.aliases()})
    if name not in names:
        collection.close()
        told = f"there is {', '.join(names)}" if names else "nothing is there"
        raise ConfigurationError(f"there is no collection {name!r} at {collection.where}: {told}")
    return collection


def _live(corpus: Source, options: argparse.Namespace, opened: ExitStack) -> Search:
    """The search of the live collection with the model that its vectors are of."""
    from gemini2_core.corpus import CollectionSource, StoredSearch

    assert isinstance(corpus, CollectionSource)
    live = StoredSearch(corpus, using=options.live_vector)
    told = argparse.Namespace(**{**vars(options), "model": options.live_model, "cache": None})
    return live.by(opened.enter_context(embedder(told, dimensions=live.size)))


def _queries(path: str) -> list[str]:
    lines = Path(path).expanduser().read_text("utf-8").splitlines()
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigurationError(f"there is no question in {path}")
    return found
