"""What needs predictions tables alone: their evaluation and their comparison. No deep learning library."""
