"""What a chunk of a large Markdown corpus with pictures costs: CPU time, and memory beyond it."""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from gemini2_core.content.chunking import Chunk, chunk_documents, read_markdown

_PAGES_PER_MANUAL = 100
_PICTURES_PER_PAGE = 2
_PICTURE_BYTES = 4096
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x20\x08\x02\0\0\0"
_WORDS = (
    "pump valve gasket rotor bearing shaft coolant pressure filter nozzle torque bolt seal oil "
    "engine idle noise check replace tighten before after every hours manual page figure the of "
    "and to a in is with for when it at by from or if on as not must may should accessory"
).split()


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the corpus, chunk it, print what was measured."""
    parser = argparse.ArgumentParser(
        prog="make bench-chunking",
        description=(
            "Reads and chunks a corpus of Markdown manuals, 100 pages each, every page with "
            "paragraphs, a list and two pictures of its own, which are sniffed and hashed. Prints "
            "the CPU time of this process for each chunk (from opening the manuals to chunks with "
            "their digests, ids and texts), and by how much the peak of its memory grew after "
            "the first manual. Nothing is embedded. The goal: 1 ms a chunk, and memory that "
            "doesn't grow with the corpus."
        ),
        epilog="make bench-chunking ARGS='--pages 10000'",
    )
    parser.add_argument("--pages", type=int, default=2000, help="of the corpus (default 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs over it (default 3)")
    options = parser.parse_args(arguments)
    if options.pages < 1 or options.rounds < 1:
        parser.error("--pages and --rounds are 1 or more")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options.pages, options.rounds)


def run(folder: Path, pages: int, rounds: int) -> None:
    """Measure a corpus of ``pages`` pages that is made in ``folder``."""
    manuals = make_corpus(folder, pages)
    characters = sum(manual.stat().st_size for manual in manuals)
    print(
        f"{pages:,} pages, {pages * _PICTURES_PER_PAGE:,} pictures, "
        f"{characters / 1e6:.1f} MB of Markdown"
    )
    for _ in chunks_of(manuals[:1], folder):  # imports, the parser
        pass
    before = _peak_megabytes()
    costs: list[float] = []
    for _ in range(rounds):
        for picture in (folder / "figures").iterdir():
            os.utime(picture)  # what was known of it counts no more
        count = media = 0
        started = time.process_time()
        for chunk in chunks_of(manuals, folder):
            count += 1
            media += len(chunk.media)
        costs.append((time.process_time() - started) / count * 1000)
        if media != pages * _PICTURES_PER_PAGE:
            sys.exit(f"{media:,} pictures in {count:,} chunks: some were lost")
        if len(costs) == 1:
            print(f"{count:,} chunks; memory at its peak: +{_peak_megabytes() - before:.1f} MB")
    print(
        f"{median(costs):.3f} ms a chunk, CPU (median of {rounds}; "
        f"{min(costs):.3f} to {max(costs):.3f})"
    )


def make_corpus(folder: Path, pages: int) -> list[Path]:
    """Write manuals and their pictures, no two of which are the same."""
    (folder / "figures").mkdir()
    dice = random.Random(0)
    manuals: list[Path] = []
    for first in range(0, pages, _PAGES_PER_MANUAL):
        written = [f"# Manual {first // _PAGES_PER_MANUAL}\n\n"]
        for page in range(first, min(first + _PAGES_PER_MANUAL, pages)):
            for number in range(_PICTURES_PER_PAGE):
                data = _PNG + f"{page}-{number}".encode()
                name = folder / "figures" / f"{page}-{number}.png"
                name.write_bytes(data.ljust(_PICTURE_BYTES, b"\0"))
            written.append(_page(page, dice))
        manuals.append(folder / f"{first:06}.md")
        manuals[-1].write_text("".join(written))
    return manuals


def chunks_of(manuals: Sequence[Path], folder: Path) -> Iterator[Chunk]:
    """The chunks of manuals, one manual after the other."""
    for manual in manuals:
        text = manual.read_text()
        yield from chunk_documents(read_markdown(text, source=manual.name, media_root=folder))


def _page(page: int, dice: random.Random) -> str:
    def sentence() -> str:
        return " ".join(dice.choices(_WORDS, k=12)).capitalize() + "."

    def paragraph() -> str:
        return " ".join(sentence() for _ in range(6))

    return (
        f"## Section {page}\n\n{paragraph()}\n\n{paragraph()}\n\nThe part looks like this:\n\n"
        f"![part {page}](figures/{page}-0.png)\n\n*Figure {page}: the part.*\n\n"
        f"- {sentence()}\n- {sentence()}\n\n{paragraph()} ![tool](figures/{page}-1.png)\n\n"
    )


def _peak_megabytes() -> float:
    """The most memory that the process has had."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
