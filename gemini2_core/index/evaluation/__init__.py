"""Does more than 768 pay: your own queries, judged, at each size, by two passes, by two models."""

from gemini2_core.index.evaluation.beir import (
    BeirCorpus,
    Document,
    Qrels,
    read_corpus,
    read_qrels,
    read_queries,
)
from gemini2_core.index.evaluation.bootstrap import Interval
from gemini2_core.index.evaluation.candidate import Embedder
from gemini2_core.index.evaluation.evaluating import Corpus, evaluate
from gemini2_core.index.evaluation.metrics import measure_run
from gemini2_core.index.evaluation.mteb_encoder import MtebEncoder
from gemini2_core.index.evaluation.report import Cost, EvaluationReport, Row
from gemini2_core.index.evaluation.verdict import Difference

__all__ = [
    "BeirCorpus",
    "Corpus",
    "Cost",
    "Difference",
    "Document",
    "Embedder",
    "EvaluationReport",
    "Interval",
    "MtebEncoder",
    "Qrels",
    "Row",
    "evaluate",
    "measure_run",
    "read_corpus",
    "read_qrels",
    "read_queries",
]
