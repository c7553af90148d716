"""Layers of EfficientNets on a CPU, in C: compiled where they are needed, torch's own where that cannot be."""
