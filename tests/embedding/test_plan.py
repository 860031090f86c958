"""What is sent: which inputs are one, what goes in one request, over-long texts and titles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core import Media
from gemini2_core.embedding import engine, loop
from gemini2_core.embedding.plan import Item, make_batches
from gemini2_core.emulator import Emulator
from gemini2_core.errors import LimitError, MediaNotFoundError
from gemini2_core.model import Prompt
from tests.embedding.conftest import Make


def test_a_text_that_spells_a_mediums_identity_is_not_taken_for_it(picture: Path) -> None:
    media = Media.from_path(picture)
    texts = [f"{sign}{media.identity}" for sign in ("", "\0", "@", "=")]
    parts: list[str | Media] = [media, *texts]
    identities = {Item((part,), Prompt()).identity for part in parts}
    assert len(identities) == 5


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(5, 50))
def test_no_request_has_more_tokens_than_a_minute_unless_one_item_has(
    words: list[int], most: int
) -> None:
    items = [Item(("word " * count,), Prompt()) for count in words]
    places = list(range(len(items)))
    batches = make_batches(items, places, batch_size=40, max_concurrency=1, max_tokens=most)
    assert [place for batch in batches for place in batch] == places
    for batch in batches:
        assert len(batch) == 1 or sum(words[place] for place in batch) <= most


def test_a_file_that_is_gone_when_its_request_is_packed_is_told_with_its_place(
    make: Make, picture: Path, other_picture: Path
) -> None:
    lost = Media.from_path(picture)
    embedder = make()
    plan = embedder._plan([other_picture, lost], "document", None, "joint")
    picture.unlink()
    with pytest.raises(MediaNotFoundError, match="input 1"):
        loop.run(embedder._execute(plan))


def test_a_title_longer_than_a_text_may_be_is_an_error_and_not_a_window_a_word(
    make: Make, emulator: Emulator
) -> None:
    with pytest.raises(LimitError, match=r"input 1: .*title") as caught:
        make().embed_documents(["a", "b " * 100], titles=[None, "title " * 9000])
    assert caught.value.index == 1
    assert all("countTokens" in request.path for request in emulator.requests)


def test_how_many_texts_have_to_be_counted_decides_no_vector(
    make: Make, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 60 counts of 0.1 s by 4 at once take longer than the time that one may take.
    monkeypatch.setattr(engine, "_COUNTING_SECONDS", 0.4)
    emulator.configure(latency=0.1)
    texts = [f"{number} " + "ordinary " * 2500 for number in range(60)]
    result = make(max_concurrency=4).embed_documents(texts)
    assert len(result) == result.usage.items == 60
