"""Fitting: feature spaces and responses become predictions."""
