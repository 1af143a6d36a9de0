"""The pixel loops of in-silico clips, compiled on first use and kept on disk.

A leaf is a row of numbers: x, y, radius, aspect, angle, lobes, depth, texture, frequency, contrast, phase,
r, g, b. Its outline is a circle of radius 1 + depth cos(lobes angle), squeezed by its aspect, turned by its
angle. Lengths are in pixels, colours and lights about 0 to 1.
"""

import math

import numba
import numpy as np

FLAT, GRATING, CHECKER, DOTS, NOISE = range(5)


@numba.njit(cache=True)
def _inside(leaf, x, y):
    """Coordinates within the leaf in units of its radius, and how many pixels inside its outline they lie."""
    dx, dy = x - leaf[0], y - leaf[1]
    cosine, sine = math.cos(leaf[4]), math.sin(leaf[4])
    u = (dx * cosine + dy * sine) / leaf[2]
    v = (dy * cosine - dx * sine) / leaf[2] * leaf[3]
    away = math.sqrt(u * u + v * v)
    if away >= 1.0 + leaf[6]:  # surely outside or well inside: no need of the angle, which costs most
        return u, v, (1.0 + leaf[6] - away) * leaf[2]
    if (1.0 - leaf[6] - away) * leaf[2] >= 1.0:
        return u, v, (1.0 - leaf[6] - away) * leaf[2]
    return u, v, (1.0 + leaf[6] * math.cos(leaf[5] * math.atan2(v, u)) - away) * leaf[2]


@numba.njit(cache=True)
def _shade(leaf, u, v, noise):
    """Light of a leaf's texture at (u, v), about 1."""
    kind, wave, contrast, phase = int(leaf[7]), 2 * math.pi * leaf[8], leaf[9], leaf[10]
    light = 1.0 - 0.15 * (u + v)  # lit from the upper left
    if kind == GRATING:
        light += contrast * math.cos(wave * u + phase)
    elif kind == CHECKER:
        light += contrast * (1.0 if math.sin(wave * u + phase) * math.sin(wave * v) > 0 else -1.0)
    elif kind == DOTS:
        light += contrast * (1.0 if math.cos(wave * u + phase) + math.cos(wave * v) > 0.8 else -0.5)
    elif kind == NOISE:
        side = noise.shape[0]
        light += contrast * noise[int(60 * v + 97 * phase) % side, int(60 * u + 61 * phase) % side]
    return light


@numba.njit(cache=True)
def pile(ground, covered, left, noise, leaves):
    """Lay leaves under those that are there, the first on top; returns how many pixels are still bare."""
    height, width = covered.shape
    for leaf in leaves:
        reach = leaf[2] * (1.0 + leaf[6])
        for row in range(max(0, int(leaf[1] - reach)), min(height, int(leaf[1] + reach) + 2)):
            for column in range(max(0, int(leaf[0] - reach)), min(width, int(leaf[0] + reach) + 2)):
                if covered[row, column]:
                    continue
                u, v, depth = _inside(leaf, column, row)
                if depth > 0:
                    covered[row, column] = True
                    left -= 1
                    light = _shade(leaf, u, v, noise)
                    for channel in range(3):
                        ground[row, column, channel] = min(1.0, max(0.0, leaf[11 + channel] * light))
    return left


@numba.njit(cache=True)
def paint(sprite, noise, leaf):
    for row in range(sprite.shape[0]):
        for column in range(sprite.shape[1]):
            u, v, depth = _inside(leaf, column, row)
            light = _shade(leaf, u, v, noise)
            for channel in range(3):
                sprite[row, column, channel] = min(1.0, max(0.0, leaf[11 + channel] * light))
            sprite[row, column, 3] = min(1.0, max(0.0, depth))


@numba.njit(cache=True)
def compose(frame, ground, sprites, pan_x, pan_y, scale, spots):
    """The ground through the camera, then the objects over it; spots: x, y, diameter in picture widths."""
    side, half, middle = frame.shape[0], frame.shape[0] / 2, ground.shape[0] / 2
    for row in range(side):
        y = middle + pan_y + (row - half) * scale
        top = int(y)
        down = y - top
        north, south = ground[top], ground[top + 1]
        for column in range(side):
            x = middle + pan_x + (column - half) * scale
            west = int(x)
            right = x - west
            a, b = np.float32(255 * (1 - right) * (1 - down)), np.float32(255 * right * (1 - down))
            c, d = np.float32(255 * (1 - right) * down), np.float32(255 * right * down)
            for k in range(3):
                light = a * north[west, k] + b * north[west + 1, k] + c * south[west, k] + d * south[west + 1, k]
                frame[row, column, k] = np.uint8(light + np.float32(0.5))
    for index in range(len(spots)):
        _overlay(frame, sprites[index], spots[index])


@numba.njit(cache=True)
def _overlay(frame, sprite, spot):
    side, last = frame.shape[0], sprite.shape[0] - 1
    centre_x, centre_y, reach = (spot[0] + 0.5) * side, (spot[1] + 0.5) * side, spot[2] * side / 2
    for row in range(max(0, int(centre_y - reach) + 1), min(side, int(centre_y + reach))):
        y = (row - centre_y + reach) / (2 * reach) * last
        top = int(y)
        down = y - top
        for column in range(max(0, int(centre_x - reach) + 1), min(side, int(centre_x + reach))):
            x = (column - centre_x + reach) / (2 * reach) * last
            west = int(x)
            right = x - west
            a, b = (1 - right) * (1 - down), right * (1 - down)
            c, d = (1 - right) * down, right * down
            north, south = sprite[top], sprite[min(top + 1, last)]
            east = min(west + 1, last)
            cover = a * north[west, 3] + b * north[east, 3] + c * south[west, 3] + d * south[east, 3]
            if cover <= 0:
                continue
            for k in range(3):
                light = a * north[west, k] + b * north[east, k] + c * south[west, k] + d * south[east, k]
                frame[row, column, k] = int(frame[row, column, k] * (1 - cover) + 255 * light * cover + 0.5)
