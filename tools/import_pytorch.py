"""Import the networks of tests/models/{pytorch,quantized}.py into Relay and store them in tests/models/relay/.

    python -m tools.import_pytorch          # from the repository's root: all of them
    python -m tools.import_pytorch vit unet

The tests read the files, so that only this needs PyTorch. Where PyTorch is installed, tests/models/test_pytorch.py
and test_quantized.py say when a file is out of date.
"""

from __future__ import annotations

import sys

from tests.models import pytorch, quantized, stored

if __name__ == "__main__":
    for name in sys.argv[1:] or [*pytorch.NETWORKS, *quantized.NETWORKS]:
        family = quantized if name in quantized.NETWORKS else pytorch
        stored.save(name, family.imported(name).mod)
