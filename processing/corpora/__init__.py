"""Readers of emotional speech corpora into one row schema, and a corpus that is synthesised."""
