"""VOneNet (Dapello, Marques et al. 2020): a fixed model of primary visual cortex, then a network.

Written from the paper's description; module names are those of the published checkpoints. 224 pixels stand
for 8 degrees of the visual field.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

N_SIMPLE = 256
N_COMPLEX = 256
N_CHANNELS = N_SIMPLE + N_COMPLEX
KERNEL = 25  # pixels
PIXELS_PER_DEGREE = 224 / 8
GAIN = 25
NOISE_SCALE, NOISE_LEVEL = 0.35, 0.07

# Distributions measured in macaque V1 (De Valois 1982, Schiller 1976, Ringach 2002), as the paper uses them.
ORIENTATION_BINS, ORIENTATION_COUNTS = (-22.5, 22.5, 67.5, 112.5, 157.5), (66, 49, 77, 54)  # degrees
FREQUENCY_BINS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)  # cycles / degree
FREQUENCY_COUNTS = (4, 4, 8, 25, 32, 26, 28, 12)
LOG_SIZE_RANGE = (-1.0, 0.2)  # log10 of the envelope's SD in cycles
SIZE_FREQUENCY_CORRELATION = 0.75


class VOneBlock(nn.Module):
    """Images (n, 3, height, width) to simple and complex cells, (n, 512, height / 4, width / 4).

    With q0 and q1 the responses of a Gabor filter and of the one a quarter of a cycle ahead,
        simple = ReLU(q0), complex = sqrt((q0^2 + q1^2) / 2), output = ReLU(noise(25 (simple, complex))).

    noise: draws the neuronal noise y + N(0, 1) sqrt(ReLU(y) + 1e-4) at y = .35 x + .07, scaled back; without
        one (the default) the output is the mean response.
    """

    def __init__(self, noise: torch.Generator | None = None) -> None:
        super().__init__()
        self._noise = noise
        for name in ("simple_conv_q0", "simple_conv_q1"):
            self.add_module(name, nn.Conv2d(3, N_CHANNELS, KERNEL, stride=4, padding=KERNEL // 2, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        q0, q1 = (self.get_parameter(f"simple_conv_{phase}.weight") for phase in ("q0", "q1"))
        even = _convolved(images, q0)
        odd = _convolved(images, q1[N_SIMPLE:])  # simple cells have no use for it
        energy = even[:, N_SIMPLE:] ** 2 + odd**2
        cells = GAIN * torch.cat([even[:, :N_SIMPLE].relu(), (energy / 2).sqrt()], 1)
        return cells if self._noise is None else self._noisy(cells, self._noise).relu()

    @staticmethod
    def _noisy(cells: Tensor, generator: torch.Generator) -> Tensor:
        rate = NOISE_SCALE * cells + NOISE_LEVEL
        drawn = torch.randn(rate.shape, generator=generator, device=generator.device).to(rate)
        return (rate + drawn * (rate.relu() + 1e-4).sqrt() - NOISE_LEVEL) / NOISE_SCALE


def _convolved(images: Tensor, bank: Tensor) -> Tensor:
    """Convolution with filters that see one colour channel each: one third of the work of a dense one."""
    if bank.is_meta:
        return _strided(images, bank)
    sees = bank.abs().amax(dim=(2, 3)) > 0  # (n_filters, 3)
    if (sees.sum(dim=1) > 1).any():
        return _strided(images, bank)
    channel = sees.float().argmax(dim=1)
    order = [torch.nonzero(channel == index).flatten() for index in range(3)]
    parts = [_strided(images[:, index : index + 1], bank[rows, index : index + 1]) for index, rows in enumerate(order)]
    return torch.cat(parts, 1)[:, torch.argsort(torch.cat(order))]


def _strided(images: Tensor, bank: Tensor) -> Tensor:
    return nn.functional.conv2d(images, bank, stride=4, padding=KERNEL // 2)


def vone_resnet50(noise: torch.Generator | None = None) -> nn.Sequential:
    """The V1 block, and ResNet-50 without its stem."""
    from torchvision.models import resnet50

    whole = resnet50(weights=None)
    names = ("layer1", "layer2", "layer3", "layer4", "avgpool")
    stages = OrderedDict((name, whole.get_submodule(name)) for name in names)
    return _behind_v1(nn.Sequential(OrderedDict(**stages, flatten=nn.Flatten(), fc=whole.fc)), noise)


def vone_alexnet(noise: torch.Generator | None = None) -> nn.Sequential:
    """The V1 block, and AlexNet without its first convolution."""
    convolutions = nn.Sequential(
        nn.Conv2d(64, 192, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    )
    classifier = nn.Sequential(
        nn.Dropout(),
        nn.Linear(256 * 7 * 7, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, 1000),
    )
    parts = OrderedDict(
        features=convolutions, avgpool=nn.AdaptiveAvgPool2d(7), flatten=nn.Flatten(), classifier=classifier
    )
    return _behind_v1(nn.Sequential(parts), noise)


def _behind_v1(network: nn.Module, noise: torch.Generator | None) -> nn.Sequential:
    bottleneck = nn.Conv2d(N_CHANNELS, 64, 1, bias=False)
    return nn.Sequential(OrderedDict(vone_block=VOneBlock(noise), bottleneck=bottleneck, model=network))


def draw_bank(module: nn.Module, generator: torch.Generator) -> None:
    """Gabor filters as V1 has them, for networks with random weights (a checkpoint contains its own bank).

    exp(-(x'^2 / sx^2 + y'^2 / sy^2) / 2) / (2 pi sx sy) cos(2 pi f x' + phase), the second bank a quarter of a
    cycle ahead, each in one colour channel. Orientation and frequency follow their histograms, the phase is
    uniform, and the size in cycles rises with the frequency (normal scores with correlation .75).
    """
    bank = {name: module.get_parameter(f"vone_block.simple_conv_{name}.weight") for name in ("q0", "q1")}
    n = N_CHANNELS

    def uniform() -> Tensor:
        return torch.rand(n, generator=generator, dtype=torch.float64)

    angle = torch.deg2rad(_from_histogram(uniform(), ORIENTATION_BINS, ORIENTATION_COUNTS))
    phase = 2 * math.pi * uniform()
    first, second = (torch.randn(n, generator=generator, dtype=torch.float64) for _ in range(2))
    r = SIZE_FREQUENCY_CORRELATION
    ranks = [torch.special.ndtr(score) for score in (first, r * first + math.sqrt(1 - r**2) * second)]
    octaves = tuple(math.log2(edge) for edge in FREQUENCY_BINS)
    frequency = 2 ** _from_histogram(ranks[0], octaves, FREQUENCY_COUNTS)  # cycles / degree
    low, high = LOG_SIZE_RANGE
    wavelength = PIXELS_PER_DEGREE / frequency  # pixels
    sx = 10 ** (low + (high - low) * ranks[1]) * wavelength
    sy = 10 ** (low + (high - low) * uniform()) * wavelength
    colour = torch.randint(3, (n,), generator=generator)

    half = KERNEL // 2
    pixels = torch.arange(-half, half + 1, dtype=torch.float64)
    y, x = torch.meshgrid(pixels, pixels, indexing="ij")
    cosine, sine, sx, sy, wavelength = (each.view(n, 1, 1) for each in (angle.cos(), angle.sin(), sx, sy, wavelength))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    envelope = torch.exp(-((along / sx) ** 2 + (across / sy) ** 2) / 2) / (2 * math.pi * sx * sy)
    for name, ahead in (("q0", 0.0), ("q1", math.pi / 2)):
        carrier = torch.cos(2 * math.pi * along / wavelength + phase.view(n, 1, 1) + ahead)
        weight = torch.zeros(n, 3, KERNEL, KERNEL)
        weight[torch.arange(n), colour] = (envelope * carrier).float()
        bank[name].data.copy_(weight)


def _from_histogram(ranks: Tensor, edges: tuple[float, ...], counts: tuple[int, ...]) -> Tensor:
    """Quantiles of a histogram (uniform inside each bin) at these ranks in 0..1."""
    share = torch.tensor((0, *counts), dtype=torch.float64).cumsum(0) / sum(counts)
    bins = torch.searchsorted(share[1:-1].contiguous(), ranks, right=True)
    left = torch.tensor(edges, dtype=torch.float64)
    within = (ranks - share[bins]) / (share[bins + 1] - share[bins])
    return left[bins] + within * (left[bins + 1] - left[bins])
