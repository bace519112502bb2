"""Other systems in the same folds."""
