"""NASNet-A mobile, 4 @ 1056 (Zoph et al. 2017, arXiv:1707.07012).

Module names are those of the published PyTorch checkpoint. Strided operations pad as TensorFlow's SAME does,
with which the weights were trained: one row less before than after where the size is even.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FILTERS = 44  # of a cell of the first stage: the 1056 penultimate filters are 24 times as many
STEM_FILTERS = 32

Before = Literal["squeeze", "halve", "as it is"]


class Separable(nn.Module):
    """Depthwise, then pointwise convolution, without bias."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv2d = nn.Conv2d(n_in, n_in, kernel, stride, groups=n_in, bias=False)
        self.pointwise_conv2d = nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        after = self.depthwise_conv2d.kernel_size[0] // 2
        left, top = (_before(size, after, self.depthwise_conv2d.stride[0]) for size in (x.shape[3], x.shape[2]))
        return self.pointwise_conv2d(self.depthwise_conv2d(F.pad(x, (left, after, top, after))))


class Branch(nn.Module):
    """ReLU, separable convolution and batch norm, twice; the first one strides, and changes the width."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.separable_1 = Separable(n_in, n_out, kernel, stride)
        self.bn_sep_1 = _norm(n_out)
        self.separable_2 = Separable(n_out, n_out, kernel, 1)
        self.bn_sep_2 = _norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn_sep_1(self.separable_1(F.relu(x)))
        return self.bn_sep_2(self.separable_2(F.relu(x)))


class Squeeze(nn.Module):
    """ReLU, 1 x 1 convolution, batch norm."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.bn = _norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(F.relu(x)))


class Cell(nn.Module):
    """The two inputs of a cell, brought to one width: the output of the last cell, and of the one before it.

    squeeze: 1 x 1 convolution of the one before; halve: it is twice as large, so every second pixel of it,
    once from (0, 0) and once from (1, 1), goes through a 1 x 1 convolution into half of the width.
    """

    def __init__(self, n_before: int, n_last: int, n: int, before: Before) -> None:
        super().__init__()
        self._before: Before = before
        self.conv_1x1 = Squeeze(n_last, n)
        if before == "squeeze":
            self.conv_prev_1x1 = Squeeze(n_before, n)
        elif before == "halve":
            self.path_1, self.path_2 = (
                nn.Sequential(OrderedDict(conv=nn.Conv2d(n_before, n // 2, 1, bias=False))) for _ in range(2)
            )
            self.final_path_bn = _norm(n)

    def inputs(self, last: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        last = self.conv_1x1(last)
        match self._before:
            case "squeeze":
                return last, self.conv_prev_1x1(before)
            case "halve":
                x = F.relu(before)
                shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2]
                halves = [self.path_1(x[:, :, ::2, ::2]), self.path_2(shifted)]
                return last, self.final_path_bn(torch.cat(halves, 1))
        return last, before


class NormalCell(Cell):
    """Keeps the size; concatenates six maps of width n: 6 n channels, linear (no ReLU behind the sums)."""

    def __init__(self, n_before: int, n_last: int, n: int, before: Before = "squeeze") -> None:
        super().__init__(n_before, n_last, n, before)
        self.comb_iter_0_left, self.comb_iter_0_right = Branch(n, n, 5), Branch(n, n, 3)
        self.comb_iter_1_left, self.comb_iter_1_right = Branch(n, n, 5), Branch(n, n, 3)
        self.comb_iter_4_left = Branch(n, n, 3)

    def forward(self, last: Tensor, before: Tensor) -> Tensor:
        last, before = self.inputs(last, before)
        parts = [
            before,
            self.comb_iter_0_left(last) + self.comb_iter_0_right(before),
            self.comb_iter_1_left(before) + self.comb_iter_1_right(before),
            _mean_pool(last, 1) + before,
            2 * _mean_pool(before, 1),
            self.comb_iter_4_left(last) + last,
        ]
        return torch.cat(parts, 1)


class ReductionCell(Cell):
    """Halves the size; concatenates four maps of width n: 4 n channels, linear."""

    def __init__(self, n_before: int, n_last: int, n: int, before: Before = "squeeze") -> None:
        super().__init__(n_before, n_last, n, before)
        n_other = n_before if before == "as it is" else n
        self.comb_iter_0_left, self.comb_iter_0_right = Branch(n, n, 5, 2), Branch(n_other, n, 7, 2)
        self.comb_iter_1_right = Branch(n_other, n, 7, 2)
        self.comb_iter_2_right = Branch(n_other, n, 5, 2)
        self.comb_iter_4_left = Branch(n, n, 3)

    def forward(self, last: Tensor, before: Tensor) -> Tensor:
        last, before = self.inputs(last, before)
        largest = _max_pool(last)
        first = self.comb_iter_0_left(last) + self.comb_iter_0_right(before)
        second = largest + self.comb_iter_1_right(before)
        parts = [
            second,
            _mean_pool(last, 2) + self.comb_iter_2_right(before),
            _mean_pool(first, 1) + second,
            self.comb_iter_4_left(first) + largest,
        ]
        return torch.cat(parts, 1)


class NASNetAMobile(nn.Module):
    """Images (n, 3, height, width), 224 x 224 in training, to class scores (n, 1000)."""

    def __init__(self, n_classes: int = 1000) -> None:
        super().__init__()
        n = FILTERS
        first = nn.Conv2d(3, STEM_FILTERS, 3, stride=2, bias=False)
        self.conv0 = nn.Sequential(OrderedDict(conv=first, bn=_norm(STEM_FILTERS)))
        self.cell_stem_0 = ReductionCell(STEM_FILTERS, STEM_FILTERS, n // 4, "as it is")
        self.cell_stem_1 = ReductionCell(STEM_FILTERS, n, n // 2, "halve")
        n_before, n_last = n, 2 * n
        for stage, start in enumerate((0, 6, 12)):
            width = n << stage
            if stage:
                self.add_module(f"reduction_cell_{stage - 1}", ReductionCell(n_before, n_last, width))
                n_before, n_last = n_last, 4 * width
            for index in range(start, start + 4):
                before: Before = "halve" if index == start else "squeeze"
                self.add_module(f"cell_{index}", NormalCell(n_before, n_last, width, before))
                n_before, n_last = n_last, 6 * width
        self.last_linear = nn.Linear(n_last, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.conv0(images)
        before = self.cell_stem_0(stem, stem)
        last = self.cell_stem_1(before, stem)
        for name, cell in self.named_children():
            if name.startswith(("cell_", "reduction_")) and "stem" not in name:
                last, before = cell(last, before), last
        return self.last_linear(F.relu(last).mean((2, 3)))


def _norm(n: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(n, eps=0.001)


def _before(size: int, after: int, stride: int) -> int:
    """Rows of SAME padding before the first one, where `after` follow the last one."""
    return after - (stride == 2 and size % 2 == 0)


def _max_pool(x: Tensor) -> Tensor:
    return _pooled(F.max_pool2d, x, 2)


def _mean_pool(x: Tensor, stride: int) -> Tensor:
    """Mean over 3 x 3 of what lies inside the image."""
    return _pooled(F.avg_pool2d, x, stride, count_include_pad=False)


def _pooled(pool: Callable[..., Tensor], x: Tensor, stride: int, **options: bool) -> Tensor:
    padding = tuple(_before(size, 1, stride) for size in x.shape[2:])
    return pool(x, 3, stride, padding, ceil_mode=True, **options)
