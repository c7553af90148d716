"""What a bundle is used for: prediction, explanation, export."""
