"""Pretrained weights, offline first: which there are, where they lie, how they are fetched, checked and read."""
