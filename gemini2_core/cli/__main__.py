"""``python -m gemini2_core.cli`` is ``gemini2``."""

import sys

from gemini2_core.cli.program import main

__all__: list[str] = []

sys.exit(main())
