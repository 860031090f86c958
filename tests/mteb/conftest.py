"""No task here may ask the network: what mteb would fetch has to be there."""

from __future__ import annotations

import os

# Before mteb, datasets or huggingface_hub are imported.
for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ.setdefault(name, "1")
