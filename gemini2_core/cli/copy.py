"""``gemini2 copy``: a collection from a folder to a server, or from any address to another."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gemini2_core.cli.command import Commands
from gemini2_core.cli.options import add_address, address
from gemini2_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gemini2_core.index import MatryoshkaCollection, Record

__all__ = ["add"]

_FROM, _TO = "from-", "to-"


def add(commands: Commands) -> None:
    """Add the command."""
    copy = commands.add_parser(
        "copy",
        help="copy a collection, say from a folder to a server; nothing is embedded anew",
        description="Copies every point with its id, payload and vectors. Interrupted, the same "
        "call goes on: points that are there already with the same payload are left out.",
    )
    add = copy.add_argument
    add("name", metavar="NAME", help="the collection, or an alias of it")
    add("--to-name", metavar="NAME", help="what the copy is called (the same)")
    add(
        "--tiers",
        type=int,
        nargs="+",
        metavar="N",
        help="sizes of a new copy, none larger than the collection's largest (the same)",
    )
    add("--all", action="store_true", help="copy also what is there already")
    add("--shard-number", type=int, metavar="N", help="shards of a new copy on a server")
    add("--replication-factor", type=int, metavar="N", help="copies of each shard, on a cluster")
    add("--parallel", type=int, default=4, metavar="N", help="uploads at once (%(default)s)")
    group = copy.add_argument_group("BM25")
    add = group.add_argument
    add("--hybrid", action="store_true", help="give a new copy BM25 too (if the collection has it)")
    add("--text-key", metavar="KEY", help="field of the payload with the words (seen by itself)")
    add_address(copy, _FROM)
    add_address(copy, _TO)
    copy.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from gemini2_core.index import MatryoshkaCollection

    told = MatryoshkaCollection(options.name, space=None, **address(options, _FROM))
    with _there(options.name, told) as source:
        if options.tiers and max(options.tiers) > source.dimensions:
            # Before the target is made: it would stay there with these tiers.
            raise ConfigurationError(
                f"--tiers {max(options.tiers)} is more than the {source.dimensions} numbers "
                f"that {source.name!r} has"
            )
        target = MatryoshkaCollection(
            options.to_name or options.name,
            space=source.space,
            tiers=options.tiers or source.tiers,
            hybrid=options.hybrid or source.hybrid,
            shard_number=options.shard_number,
            replication_factor=options.replication_factor,
            parallel=options.parallel,
            **address(options, _TO),
        )
        with target:
            _copy(source, target, options)
    return 0


def _copy(
    source: MatryoshkaCollection, target: MatryoshkaCollection, options: argparse.Namespace
) -> None:
    from tqdm.auto import tqdm

    from gemini2_core.index import copy_collection

    total = source.count()
    with tqdm(total=total, unit="point", desc=f"copying {source.name}") as bar:

        def tell(done: int, _total: int) -> None:
            bar.update(done - bar.n)

        copied = copy_collection(
            source,
            target,
            texts_for=_texts(options.text_key) if target.hybrid else None,
            resume=not options.all,
            on_progress=tell,
        )
    rest = f"; {total - copied:,} were there already" if copied < total else ""
    print(f"{copied:,} points copied to {target.name!r} at {target.where}{rest}.")


def _there(name: str, source: MatryoshkaCollection) -> MatryoshkaCollection:
    """The source, if it is there: to open it would make it.

    Raises:
        ConfigurationError: It isn't.
    """
    names = sorted({*source.collections(), *source.aliases()})
    if name not in names:
        told = f"there are {', '.join(names)}" if names else "nothing is there"
        raise ConfigurationError(f"there is no collection {name!r} at {source.where}: {told}")
    return source


def _texts(key: str | None) -> Callable[[Record], str]:
    """How the words of a point are found in what a store of ours wrote."""
    from gemini2_core.corpus.sources.points import point_content

    def texts(record: Record) -> str:
        content, _ = point_content(record.payload, text_key=key, title_key=None, media_root=None)
        parts = content if isinstance(content, list) else [content]
        return " ".join(part for part in parts if isinstance(part, str))

    return texts
