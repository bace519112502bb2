"""Rows, scores, comparisons and figures of finished runs."""
