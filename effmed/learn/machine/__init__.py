"""What this machine has: its memory, and how fast it trains."""
