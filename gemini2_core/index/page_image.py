"""The first page of a PDF as a picture for a notebook, since browsers show no embedded PDF."""

from __future__ import annotations

import io

__all__ = ["page_image"]

_MOST_PIXELS = 640
_QUALITY = 80


def page_image(pdf: bytes) -> tuple[bytes, int] | None:
    """The first page as JPEG, at most 640 pixels on a side, and how many pages there are.

    None if pypdfium2 or Pillow isn't there (extra ``[documents]``), or the page can't be drawn.
    """
    try:
        import PIL.Image  # noqa: F401  # what pypdfium2 draws into
        import pypdfium2  # type: ignore[import-untyped]
    except ImportError:
        return None
    try:
        file = pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError:
        return None
    try:
        page = file[0]
        longest = max(*page.get_size(), 1.0)
        drawn = page.render(scale=_MOST_PIXELS / longest).to_pil().convert("RGB")
        out = io.BytesIO()
        drawn.save(out, "JPEG", quality=_QUALITY)
        return out.getvalue(), len(file)
    except (pypdfium2.PdfiumError, IndexError, ValueError, MemoryError, OSError):
        return None
    finally:
        file.close()
