"""Answers over HTTP: what waits for the model, how recordings come in, live streams, numbers."""
