"""Submission: predictions for the test clips as the challenge takes them, checked, and scored where that can be done.

filling   what a voxel that is predicted the same for every clip gets
archive   the zip: written, and opened as something hostile
faults    all that is wrong with a zip, at once
offline   its score, where there are responses to the test clips
"""
