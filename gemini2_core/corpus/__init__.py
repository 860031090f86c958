"""Moving a whole corpus: what is in it, what it costs, embedding it anew, switching over."""

from gemini2_core.corpus.item import Item, Source

__all__ = ["Item", "Source"]
