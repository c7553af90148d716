"""Folders of noise for the tests of workflows."""

import cv2
import numpy as np


def patients(root, n):
    """Write one picture per patient, ``p00.png`` and so on, in turns below ``healthy`` and ``sick``."""
    for k in range(n):
        path = root / ("sick" if k % 2 else "healthy") / f"p{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(k).integers(0, 255, (40, 48)).astype(np.uint8))
    return root
