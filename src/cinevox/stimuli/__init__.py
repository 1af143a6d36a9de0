"""Stimuli: clips, their frames, what networks make of them, and the principal components of that."""
