"""What the images are: scanning, decoding, splitting, fingerprint, cache. No torch."""
