"""Finding it again: the Matryoshka collection."""

from gemini2_core.index.asking import FilterField
from gemini2_core.index.collection import MatryoshkaCollection
from gemini2_core.index.copying import copy_collection
from gemini2_core.index.filters import FilterLike, read_filter
from gemini2_core.index.ids import Payload, PointId
from gemini2_core.index.options import CollectionOptions
from gemini2_core.index.passes import Shortlist
from gemini2_core.index.results import Hit, Record, Results
from gemini2_core.index.rows import VectorsLike
from gemini2_core.index.tiers import VectorsFor

__all__ = [
    "CollectionOptions",
    "FilterField",
    "FilterLike",
    "Hit",
    "MatryoshkaCollection",
    "Payload",
    "PointId",
    "Record",
    "Results",
    "Shortlist",
    "VectorsFor",
    "VectorsLike",
    "copy_collection",
    "read_filter",
]
