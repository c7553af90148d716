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


def squares(root, n, *, first=0, name="p", sick_every=2, folders=True):
    """Write one picture per patient: noise with a square at a varying place, mostly brighter when sick."""
    for k in range(first, first + n):
        chance, sick = np.random.default_rng(k), k % sick_every == 0
        pixels = chance.integers(0, 100, (40, 48)).astype(np.uint8)
        row, column = chance.integers(4, 24, 2)
        pixels[row : row + 12, column : column + 12] += np.uint8(15 * sick + chance.random() * (80 if sick else 35))
        path = root / (("sick" if sick else "healthy") if folders else "") / f"{name}{k:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    return root
