"""Heads: from a base's activations in every frame of a clip to the responses of one ROI.

All randomness of a head, its weights and its dropout, comes from generators of its own. So a head's numbers don't
depend on the heads that are trained beside it.
"""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import nn

from cinevox.project.params import Head


class Dropout(nn.Module):
    """Zeroes a share of the numbers while training and scales the rest by 1 / (1 - share)."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share, self.generator = share, generator

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.share == 0:
            return values
        kept = torch.empty_like(values).bernoulli_(1 - self.share, generator=self.generator)
        return values * kept / (1 - self.share)


def one_step(lstm: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Compute the output of an LSTM layer for sequences of one step, both directions side by side.

    Nothing comes from a step before, so neither the recurrent weights nor the forget gate take part:
    h = sigmoid(o) tanh(sigmoid(i) tanh(g)), and half the time of the general layer.

    values: (..., n_features); returns (..., hidden) or (..., 2 hidden)
    """
    found = []
    for direction in ("", "_reverse")[: 1 + bool(lstm.bidirectional)]:
        weight, *biases = (getattr(lstm, f"{name}_l0{direction}") for name in ("weight_ih", "bias_ih", "bias_hh"))
        i, _, g, o = nn.functional.linear(values, weight, biases[0] + biases[1]).chunk(4, dim=-1)
        found.append(torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g)))
    return torch.cat(found, dim=-1)


class HeadModule(nn.Module):
    """LSTM layers, then fully connected layers with ReLU, then a linear map to the voxels; mean over frames.

    `sequence: frame` (the paper's): every frame is a sequence of one step, and predictions are averaged over the
    clip's frames. `clip`: the LSTM layers run over the frames of a clip, and their outputs are averaged.
    With `voxel_lstm` a last LSTM layer of hidden size n_voxels follows. Two LSTM layers are bidirectional, and
    `lstm_dropout` lies between layers. The last map is linear, so the mean over frames is taken before it: the
    same numbers, n_frames times less work there.
    """

    def __init__(self, n_features: int, n_voxels: int, settings: Head, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self.lstms, self.hidden = nn.ModuleList(), nn.ModuleList()
        size = n_features
        for width in settings.lstm:
            self.lstms.append(nn.LSTM(size, width, batch_first=True, bidirectional=True))
            size = 2 * width
        if settings.voxel_lstm:
            self.lstms.append(nn.LSTM(size, n_voxels, batch_first=True))
            size = n_voxels
        for width in settings.fully_connected:
            self.hidden.append(nn.Linear(size, width))
            size = width
        self.last = nn.Linear(size, n_voxels)
        self.between = Dropout(settings.lstm_dropout, generator)
        self.after = Dropout(settings.dropout, generator)

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        """(n_clips, n_frames, n_features) to (n_clips, n_voxels)."""
        values = activations
        for number, lstm in enumerate(self.lstms):
            values = self.between(values) if number else values
            values = lstm(values)[0] if self.settings.sequence == "clip" else one_step(lstm, values)
        if len(self.lstms) and self.settings.sequence == "clip":
            values = values.mean(dim=1, keepdim=True)
        for layer in self.hidden:
            values = self.after(torch.relu(layer(values)))
        predicted: torch.Tensor = self.last(values.mean(dim=1))
        return predicted


class RoiNetwork(nn.Module):
    """The tuned blocks of a base, if any, and a head; of one ROI of one subject.

    map_shape: (channels, height, width) of what the frozen blocks give for a frame
    scaling: mean and standard deviation of each activation, 2 x (n_features,), by which it is z-scored; None: as it is
    tuned: blocks of its own, or None; in evaluation mode for good, so that batch norms keep their statistics
    seed: of the weights drawn, and of the dropout; device: where it will be trained
    """

    def __init__(
        self,
        map_shape: tuple[int, ...],
        n_voxels: int,
        settings: Head,
        tuned: nn.Module | None,
        scaling: tuple[torch.Tensor, torch.Tensor] | None,
        seed: int,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.map_shape, self.tuned = map_shape, tuned
        self.mean: torch.Tensor | None
        self.spread: torch.Tensor
        for name, values in zip(("mean", "spread"), scaling or (None, None)):
            self.register_buffer(name, values)
        n_features = prod(map_shape)
        if tuned is not None:
            tuned.eval().requires_grad_(True)
            with torch.no_grad():
                n_features = tuned(torch.zeros(1, *map_shape)).numel()
        with torch.device("meta"):
            self.head = HeadModule(n_features, n_voxels, settings, torch.Generator(device).manual_seed(seed))
        _draw(self.head.to_empty(device="cpu"), torch.Generator().manual_seed(seed))
        self.to(device)

    def train(self, mode: bool = True) -> RoiNetwork:
        super().train(mode)
        if self.tuned is not None:
            self.tuned.eval()
        return self

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        """(n_clips, n_frames, n_features) of the frozen blocks to (n_clips, n_voxels)."""
        values = activations
        if self.mean is not None:
            values = (values - self.mean) / self.spread
        if self.tuned is not None:
            maps = self.tuned(values.reshape(-1, *self.map_shape))
            values = maps.reshape(*activations.shape[:2], -1)
        predicted: torch.Tensor = self.head(values)
        return predicted


def _draw(head: HeadModule, generator: torch.Generator) -> None:
    """Weights from U(-a, a), a = 1 / sqrt(n inputs of the matrix); biases are 0.

    torch draws an LSTM's input weights by its hidden size instead. With thousands of inputs, as here, its gates
    would start closed or wide open, where they hardly learn.
    """
    with torch.no_grad():
        for weights in head.parameters():
            if weights.ndim > 1:
                weights.uniform_(-1 / sqrt(weights.shape[1]), 1 / sqrt(weights.shape[1]), generator=generator)
            else:
                weights.zero_()
