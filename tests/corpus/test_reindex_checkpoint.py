"""The checkpoint: what it says of an item follows from what was acknowledged alone."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.corpus.moving.checkpoint import Checkpoint, Identity
from gemini2_core.corpus.moving.marks import Fate, Mark, item_key
from gemini2_core.corpus.moving.paid_rows import PaidRows
from gemini2_core.corpus.moving.peeking import Known
from gemini2_core.errors import ConfigurationError
from gemini2_core.index import PointId
from gemini2_core.index.ids import point_id

IDENTITY = Identity("source", "gemini-embedding-2/RETRIEVAL", "target", "0/1")
IDS = st.sampled_from([0, 7, "a", "b", "11111111-1111-1111-1111-111111111111"])
VERSIONS = st.binary(min_size=1, max_size=1)
#: A run: what is read (id, content, payload), and how many of the open ones are acknowledged before
#: it is killed.
RUN = st.tuples(
    st.lists(st.tuples(IDS, VERSIONS, VERSIONS), max_size=8), st.integers(0, 8), st.booleans()
)


def test_an_id_comes_back_from_its_key_as_it_is_stored(tmp_path: Path) -> None:
    ids: list[PointId] = [0, 2**64 - 1, "a", "Ä" * 300, str(point_id("b"))]
    marks = [Mark(item_key(own), b"c", b"p") for own in ids]
    with Checkpoint(tmp_path / "c", IDENTITY) as checkpoint:
        checkpoint.read(marks)
        checkpoint.acknowledged(marks)
        assert set(checkpoint.some_stored(9)) == {point_id(own) for own in ids}


def test_a_checkpoint_whose_source_was_never_read_is_free_for_another_move(tmp_path: Path) -> None:
    """What a mistyped name leaves behind isn't in the way of the right one."""
    mistyped = replace(IDENTITY, source="sauce")
    Checkpoint(tmp_path / "c", mistyped).close()
    Known(tmp_path / "c", IDENTITY).close()
    with Checkpoint(tmp_path / "c", IDENTITY) as checkpoint:
        checkpoint.read([Mark(item_key("a"), b"c", b"p")])
    for opened in (Checkpoint, Known):
        with pytest.raises(ConfigurationError, match="belongs to another move: its source is"):
            opened(tmp_path / "c", mistyped)


@settings(max_examples=40)
@given(st.lists(RUN, min_size=1, max_size=4))
def test_what_must_be_done_follows_from_what_was_acknowledged(
    runs: list[tuple[list[tuple[PointId, bytes, bytes]], int, bool]],
) -> None:
    stored: dict[PointId, tuple[bytes, bytes]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for read, acknowledged, whole in runs:
            with Checkpoint(Path(folder) / "c", IDENTITY) as checkpoint:
                marks = [Mark(item_key(own), *version) for own, *version in read]
                half = len(marks) // 2
                fates = checkpoint.read(marks[:half]) + checkpoint.read(marks[half:])
                seen: set[PointId] = set()
                todo: list[int] = []
                for place, (own, content, payload) in enumerate(read):
                    expected = Fate.NEW
                    if own in seen:
                        expected = Fate.REPEATED
                    elif own in stored:
                        same = stored[own][0] == content
                        expected = Fate.UNCHANGED if stored[own][1] == payload else Fate.MOVED_ON
                        expected = expected if same else Fate.CHANGED
                    assert fates[place] is expected
                    seen.add(own)
                    if expected not in (Fate.REPEATED, Fate.UNCHANGED):
                        todo.append(place)
                for place in todo[:acknowledged]:
                    own, content, payload = read[place]
                    checkpoint.acknowledged([marks[place]])
                    stored[own] = content, payload
                assert checkpoint.stored() == len(stored)
                if whole:
                    gone = {point_id(own) for own in stored if own not in seen}
                    told = [one for page in checkpoint.removed_ids(2) for one in page]
                    assert sorted(map(str, told)) == sorted(map(str, gone))
                    assert checkpoint.removed() == len(gone)
                    checkpoint.forget(told)
                    stored = {own: at for own, at in stored.items() if own in seen}
                    checkpoint.completed()


def test_rows_are_kept_until_what_they_are_for_is_acknowledged(tmp_path: Path) -> None:
    mark = Mark(item_key("a"), b"c", b"p")
    with Checkpoint(tmp_path / "c", IDENTITY) as checkpoint:
        rows = PaidRows(checkpoint)
        assert rows.mget(["k", "l"]) == [None, None]
        rows.mset([("k", b"1234")])
        assert rows.recovered == 0
    with Checkpoint(tmp_path / "c", IDENTITY) as checkpoint:
        rows = PaidRows(checkpoint)
        assert rows.mget(["k", "l"]) == [b"1234", None]
        assert rows.mget(["k", "l"]) == [b"1234", None]
        assert rows.recovered == 1
        assert checkpoint.read([mark]) == [Fate.NEW]
        checkpoint.acknowledged([mark], paid=rows.keys)
        assert checkpoint.kept_rows() == 0
