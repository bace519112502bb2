"""What a run has and leaves behind: settings, fold, folder, results, metrics."""
