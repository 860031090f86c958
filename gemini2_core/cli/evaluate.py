"""``gemini2 evaluate``: whether more than 768 numbers pay, on your own judged questions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gemini2_core.cli.command import Commands
from gemini2_core.cli.options import add_address, add_embedding, address, embedder
from gemini2_core.errors import ConfigurationError, MissingExtraError
from gemini2_core.model import MODELS, model_spec

if TYPE_CHECKING:
    from gemini2_core.embedding import Gemini2Embedder

__all__ = ["add"]

_CACHE = "vectors.sqlite"


def add(commands: Commands) -> None:
    """Add the command."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure each size, two passes and other models on your own judged questions",
        description="Measures how well your questions find your documents (nDCG@10, recall, MRR) "
        "at each size, by two passes and with another model, and says whether more than the "
        "smallest size pays. A second run costs nothing: the vectors are kept.",
    )
    add = evaluate.add_argument
    add("--corpus", metavar="FILE", help="BEIR's corpus.jsonl; left out, what is in the collection")
    add("--queries", metavar="FILE", required=True, help="BEIR's queries.jsonl")
    add("--qrels", metavar="FILE", required=True, help="BEIR's qrels, e.g. qrels/test.tsv")
    add(
        "--compare-model",
        metavar="MODEL",
        nargs="+",
        default=[],
        help=f"put beside it: {', '.join(MODELS)}",
    )
    add(
        "--compare-task",
        metavar="TASK",
        nargs="+",
        default=[],
        help="put beside it the same model told another task, or none",
    )
    add("--tiers", metavar="N", type=int, nargs="+", help="sizes to measure (all of the model's)")
    add(
        "--shortlists",
        metavar="N",
        type=int,
        nargs="+",
        default=[20, 50, 100, 200],
        help="what the first of two passes hands on (20 50 100 200)",
    )
    add(
        "--margin",
        metavar="POINTS",
        type=float,
        default=1.0,
        help="points of nDCG@10, of 100, that pay for a larger size (%(default)s)",
    )
    add("--resamples", metavar="N", type=int, default=10_000, help="of the bootstrap (%(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    add(
        "--output",
        metavar="DIR",
        default="evaluation",
        help="for report.txt, report.json, per_query.json, report.png and, without --cache, "
        f"{_CACHE} (%(default)s)",
    )
    add("--json", action="store_true", help="print the report as JSON")
    add("--no-plot", dest="plot", action="store_false", help="draw no report.png")
    add("--collection", metavar="NAME", default="gemini2", help="its name (%(default)s)")
    add_embedding(evaluate)
    add_address(evaluate)
    evaluate.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import orjson

    from gemini2_core.index import MatryoshkaCollection
    from gemini2_core.index.evaluation import evaluate

    if options.plot:
        _see_matplotlib()
    there = options.path is not None or options.url is not None
    if options.corpus is None and not there:
        raise ConfigurationError("give --corpus, or --path or --url of a collection that holds it")
    if options.path is not None and not Path(options.path).is_dir():
        # Opening it would make it.
        raise ConfigurationError(f"there is no folder {options.path!r}")
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    options.cache = options.cache or str(output / _CACHE)
    others: list[dict[str, str]] = [{}, *({"model": model} for model in options.compare_model)]
    others += [{"task_type": task} for task in options.compare_task]
    with ExitStack() as opened, _told_if_stopped(options.cache):
        own, *compare = [opened.enter_context(_embedder(options, other)) for other in others]
        report = evaluate(
            own,
            options.corpus,
            options.queries,
            options.qrels,
            compare=compare,
            # Without a space, since a collection that isn't there mustn't be made.
            collection=opened.enter_context(
                MatryoshkaCollection(options.collection, space=None, **address(options))
            )
            if there
            else None,
            tiers=options.tiers,
            shortlists=options.shortlists,
            margin=options.margin / 100,
            resamples=options.resamples,
            seed=options.seed,
            show_progress=sys.stderr.isatty(),
        )
    written = report.save(output, plot=options.plot)
    if options.json:
        print(orjson.dumps(report.to_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        print(report)
        print(f"Written: {', '.join(map(str, written))}")
    return 0


def _embedder(options: argparse.Namespace, changed: Mapping[str, str]) -> Gemini2Embedder:
    """The embedder that the options say, but for what is changed, at the model's full size."""
    told = argparse.Namespace(**{**vars(options), **changed})
    return embedder(told, dimensions=model_spec(told.model).full_dimensions)


@contextmanager
def _told_if_stopped(cache: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(f"gemini2: stopped; what was paid for is kept in {cache}", file=sys.stderr)
        raise


def _see_matplotlib() -> None:
    """Say that the plot can't be drawn before anything is embedded, not after.

    Raises:
        MissingExtraError: matplotlib isn't there.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "the plot (leave it out with --no-plot)", extra="plot", package="matplotlib"
        )
