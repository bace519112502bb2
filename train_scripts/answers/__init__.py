"""A trained model's answers on files and on corpora."""
