"""Measured: studies of any data set, their responses on disk, and how reliable these are."""
