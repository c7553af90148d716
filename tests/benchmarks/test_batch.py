"""The benchmark of a batch measures what it says, at a tiny size."""

import subprocess
import sys

from benchmarks import batch


def test_a_batch_is_read_and_stepped():
    reading, step = batch.measure("test_efficientnet", n_images=3, side=32)
    assert min(reading, step) > 0


def test_what_else_is_measured_carries_no_deep_learning_library():
    loaded = "import benchmarks.ingest, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], check=True)
