"""What the fields are made of: noise, coordinates, waves, points. `rng` is a numpy Generator, `n` a side in pixels."""

import cv2
import numpy as np

f32 = np.float32


def unit_range(a):
    """Stretches a field to [0, 1] between its 1st and 99th percentile."""
    lo, hi = np.percentile(a[::4, ::4], (1, 99))
    return np.clip((a - lo) / max(hi - lo, 1e-06), 0, 1).astype(f32)


def noise(rng, n, k=None, octs=None, gain=None, ax=1.0):
    """Value noise of several octaves; k: cells of the first one, gain: weight from octave to octave, ax: stretch."""
    k = k or np.exp(rng.uniform(np.log(2), np.log(40)))
    octs = octs or rng.integers(1, 6)
    gain = gain or rng.uniform(0.35, 0.9)
    out = np.zeros((n, n), f32)
    a = 1.0
    for o in range(octs):
        kx, ky = (int(min(max(k * ax**0.5, 1) + 2, n)), int(min(max(k / ax**0.5, 1) + 2, n)))
        out += a * cv2.resize(rng.standard_normal((ky, kx), dtype=f32), (n, n), interpolation=cv2.INTER_CUBIC)
        a *= gain
        k *= 2
        if k > n:
            break
    return out


def grid(n):
    """Pixel coordinates (x, y), each [n, n]."""
    y, x = np.mgrid[0:n, 0:n].astype(f32)
    return x, y


def rotate(x, y, th):
    """Coordinates in a frame turned by th (radians)."""
    c, s = np.cos(th), np.sin(th)
    return c * x + s * y, -s * x + c * y


def wave(rng, u):
    """A periodic profile of period 1 in [0, 1]: sine, triangle, saw, pulse or bumps."""
    k = rng.integers(5)
    if k == 0:
        return 0.5 + 0.5 * np.sin(2 * np.pi * u)
    if k == 1:
        return np.abs(2 * (u % 1) - 1)
    if k == 2:
        return u % 1
    if k == 3:
        w = rng.uniform(0.2, 0.8)
        return np.clip((u % 1 < w) * 1.0, 0, 1).astype(f32)
    return np.abs(np.sin(np.pi * u)) ** rng.uniform(0.4, 3)


def jittered_grid(rng, n, p):
    """Points of a square or hexagonal grid of pitch p, jittered."""
    m = int(n / p) + 3
    jx, jy = np.meshgrid(np.arange(m) - 1, np.arange(m) - 1)
    hexa = rng.random() < 0.5
    j = rng.uniform(0, 0.5) if rng.random() < 0.5 else rng.uniform(0.3, 0.9)
    X = (jx + jy % 2 * 0.5 * hexa) * p + rng.normal(0, j * p * 0.5, jx.shape)
    Y = jy * p + rng.normal(0, j * p * 0.5, jx.shape)
    return np.stack([X.ravel(), Y.ravel()], 1).astype(f32)
