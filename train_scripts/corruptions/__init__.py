"""What happens to recordings: noise, rooms, codecs, levels; for tests and for training."""
