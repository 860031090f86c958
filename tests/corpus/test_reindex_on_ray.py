"""The example for Ray Data, on Ray's own engine: the collection of one process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import pytest

from cookbooks.qdrant_on_loopback import serve as serve_qdrant
from gemini2_core import Gemini2Embedder
from gemini2_core.corpus import BeirSource, reindex
from gemini2_core.corpus.filling import unfilled_shards
from gemini2_core.emulator import serve
from gemini2_core.index import MatryoshkaCollection
from tests.corpus.corpora import made_up
from tests.corpus.emulating import ROOT
from tests.corpus.moving import SPACE, everything

pytest.importorskip("ray")


def test_shards_on_ray_make_the_collection_of_one_process(tmp_path: Path) -> None:
    lines = [orjson.dumps({"_id": f"doc-{n}", "text": str(made_up(n).content)}) for n in range(90)]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"\n".join(lines))
    with (
        serve(vectors="pool") as emulator,
        serve_qdrant() as server,
        # The path of a Unix socket is short.
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as short,
    ):
        words = [sys.executable, "cookbooks/reindex_on_ray.py", str(corpus), "--local"]
        words += ["--to", "new", "--url", str(server), "--checkpoints", str(tmp_path / "c")]
        words += ["--shards", "3", "--at-once", "2", "--tiers", "768"]
        words += ["--base-url", emulator.base_url]
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": short, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**os.environ, **quiet, "GEMINI_API_KEY": "any"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "3 shards" in done.stdout
        assert sum(record.items for record in emulator.requests) == 90
        with (
            Gemini2Embedder(api_key="any", base_url=emulator.base_url) as embedder,
            MatryoshkaCollection("one", space=SPACE, tiers=(768,), url=str(server)) as one,
            MatryoshkaCollection("new", space=SPACE, url=str(server)) as new,
        ):
            reindex(BeirSource(corpus), embedder, one, checkpoint=tmp_path / "d")
            assert everything(new) == everything(one)
            assert new.count() == 90
            assert unfilled_shards(new) == []
