"""effmed: fine-tune EfficientNets on medical images; calibrated, honestly evaluated, reusable."""

__version__ = "0.1.0"
