"""Scoring: predictions become scores, a choice of feature spaces, and the one result of a row."""
