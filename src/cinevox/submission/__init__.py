"""Submission: predictions for the test clips as the challenge takes them, checked, and scored where that can be done.

refit     the chosen feature spaces, fitted again on all training clips
archive   the zip: written, and opened as something hostile
faults    all that is wrong with a zip, at once
offline   its score, where there are responses to the test clips
"""
