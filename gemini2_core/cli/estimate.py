"""``gemini2 estimate``: what embedding a corpus will take, before any money is spent."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gemini2_core.cli.command import Commands
from gemini2_core.cli.options import add_embedding, embedder
from gemini2_core.cli.sources import add_source, source
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import model_spec

if TYPE_CHECKING:
    from gemini2_core.corpus import Estimate

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "estimate",
        help="say what embedding a corpus will take: tokens, dollars, storage, time",
        description="Say what embedding a corpus will take: tokens, dollars, storage, time, and "
        "what won't go through. Nothing is embedded; a key is needed for --exact alone.",
    )
    add_source(parser, lenient=True)
    group = parser.add_argument_group("how it is counted")
    add = group.add_argument
    add("--exact", action="store_true", help="have the service count the texts (it's free)")
    add("--sample", type=int, metavar="N", help="so many items, drawn at random, for the whole")
    add("--items", type=int, metavar="N", help="read nothing: so many items …")
    add("--tokens-per-item", type=float, metavar="N", help="… of so many tokens each")
    add("--json", action="store_true", help="JSON instead of a table")
    add_embedding(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    found = _of_counts(options) if options.items is not None else _of_source(options)
    print(found.to_json() if options.json else found)
    return 0


def _of_counts(options: argparse.Namespace) -> Estimate:
    from gemini2_core.corpus import Estimate

    if options.paths or options.collection is not None or options.exact or options.sample:
        raise ConfigurationError(
            "--items stands for a corpus: give no other, nor --exact, --sample"
        )
    if options.tokens_per_item is None:
        raise ConfigurationError("--items needs --tokens-per-item")
    return Estimate.of_counts(
        options.items,
        options.tokens_per_item,
        model=options.model,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
    )


def _of_source(options: argparse.Namespace) -> Estimate:
    from gemini2_core.corpus import CollectionSource, estimate

    if options.tokens_per_item is not None:
        raise ConfigurationError("--tokens-per-item needs --items")
    spec = model_spec(options.model)
    with ExitStack() as opened:
        counting = None
        if options.exact:
            counting = opened.enter_context(embedder(options, dimensions=spec.tiers[0]))
        corpus = source(options)
        if isinstance(corpus, CollectionSource):
            opened.enter_context(corpus)
        return estimate(
            corpus,
            embedder=counting,
            exact=options.exact,
            sample=options.sample,
            model=options.model,
            task_type=None if options.task_type.lower() == "none" else options.task_type,
            media_root=options.media_root,
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
            show_progress=sys.stderr.isatty(),
        )
