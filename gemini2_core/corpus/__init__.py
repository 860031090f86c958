"""Moving a whole corpus: what is in it, what it costs, embedding it anew, switching over."""

from gemini2_core.corpus.item import Item, Source
from gemini2_core.corpus.sources import (
    BeirSource,
    CollectionSource,
    DocumentsSource,
    FilesSource,
    Policy,
    Problem,
    Problems,
    TableSource,
    open_source,
    sharded,
)

__all__ = [
    "BeirSource",
    "CollectionSource",
    "DocumentsSource",
    "FilesSource",
    "Item",
    "Policy",
    "Problem",
    "Problems",
    "Source",
    "TableSource",
    "open_source",
    "sharded",
]
