"""Where a corpus comes from: files, tables, collections, the frameworks' own documents."""

from gemini2_core.corpus.sources.beir import BeirSource
from gemini2_core.corpus.sources.collection import CollectionSource
from gemini2_core.corpus.sources.documents import DocumentLike, DocumentsSource
from gemini2_core.corpus.sources.files import FilesSource, ReadingOptions
from gemini2_core.corpus.sources.opening import open_source
from gemini2_core.corpus.sources.points import PointForm
from gemini2_core.corpus.sources.reading import (
    CheckedSource,
    Policy,
    Problem,
    ProblemKind,
    Problems,
    SkippedWarning,
    derived_id,
    untold,
)
from gemini2_core.corpus.sources.shards import Shard, shard_of, sharded
from gemini2_core.corpus.sources.tables import TableSource

__all__ = [
    "BeirSource",
    "CheckedSource",
    "CollectionSource",
    "DocumentLike",
    "DocumentsSource",
    "FilesSource",
    "PointForm",
    "Policy",
    "Problem",
    "ProblemKind",
    "Problems",
    "ReadingOptions",
    "Shard",
    "SkippedWarning",
    "TableSource",
    "derived_id",
    "open_source",
    "shard_of",
    "sharded",
    "untold",
]
