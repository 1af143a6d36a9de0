"""Encoding models: what a row came to, as a function of any video.

about     what is told of one: where it comes from, whose voxels, how far each ROI's predictions can be trusted
model     features in, responses out: the row's regressor or transfer networks
build     one made from a row's files, refitted as the submission is
store     its folder: arrays, JSON, tensors; no pickle
clips     videos in: frames and features as when it was fitted
"""

SECTIONS = (  # of the parameters: what makes one
    "dataset", "splits", "frames", "networks", "features", "reduction", "ceiling", "regressors", "fits",
    "bases", "transfer",
)  # fmt: skip
