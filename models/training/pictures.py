"""Colour, light and texture over scalar fields; pictures are float32 RGB in about [0, 1]."""

import cv2
import numpy as np

from basics import f32
from fields import ALL_FIELDS, STATIONARY, field

TILE = 144
CANVAS = 2 * TILE


def color(rng):
    """A random colour: grey, muted or any."""
    k = rng.random()
    if k < 0.35:
        g = rng.uniform(0, 1)
        return np.clip(g + rng.normal(0, 0.03, 3), 0, 1).astype(f32)
    if k < 0.7:
        g = rng.uniform(0.05, 0.95)
        return np.clip(g + rng.normal(0, 0.15, 3), 0, 1).astype(f32)
    return rng.uniform(0, 1, 3).astype(f32)


def colorize(rng, a):
    """A random smooth colour map over a scalar field, often of low contrast."""
    k = rng.integers(2, 5)
    c0 = color(rng)
    cs = np.stack([c0] + [color(rng) for _ in range(k - 1)])
    if rng.random() < 0.5:
        cs = c0 + (cs - c0) * rng.uniform(0.08, 0.5)
    lut = np.stack(
        [np.interp(np.linspace(0, 1, 256), np.sort(np.r_[0, rng.random(k - 2), 1]), cs[:, i]) for i in range(3)], 1
    ).astype(f32)
    return lut[(a * 255).astype(np.uint8)]


def slopes(h):
    """Slope of a height field along x and y."""
    return cv2.Sobel(h, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(h, cv2.CV_32F, 0, 1, scale=0.125)


def relief(rng, img, h, amp=None):
    """Shades a picture by a height field: diffuse and specular light from one lamp."""
    amp = amp or np.exp(rng.uniform(np.log(1), np.log(12)))
    gx, gy = slopes(h)
    th = rng.uniform(0, 2 * np.pi)
    el = rng.uniform(0.3, 1.2)
    L = np.array([np.cos(th) * np.cos(el), np.sin(th) * np.cos(el), np.sin(el)], f32)
    gx = gx * amp
    gy = gy * amp
    iv = 1 / np.sqrt(1 + gx * gx + gy * gy)
    nl = np.clip((-gx * L[0] - gy * L[1] + L[2]) * iv, 0, 1)
    Hh = L + np.array([0, 0, 1])
    Hh /= np.linalg.norm(Hh)
    sp = np.clip((-gx * Hh[0] - gy * Hh[1] + Hh[2]) * iv, 0, 1) ** rng.uniform(8, 60)
    am = rng.uniform(0.2, 0.6)
    return img * (am + (1.15 - am) * nl)[..., None] + rng.choice([0, rng.uniform(0, 0.6)]) * sp[..., None]


def texture(rng, n=CANVAS, pool=STATIONARY):
    """A coloured, sometimes shaded texture, [n, n, 3]."""
    a = field(rng, n, pool)
    img = colorize(rng, a)
    if rng.random() < 0.35:
        b = field(rng, n, pool)
        m = field(rng, n, pool)[..., None] ** rng.uniform(0.5, 3)
        img = img * (1 - m) + colorize(rng, b) * m
    if rng.random() < 0.45:
        img = relief(rng, img, a if rng.random() < 0.6 else field(rng, n, pool))
    if rng.random() < 0.3:
        img = img + rng.normal(0, rng.uniform(0.005, 0.06), (n, n, 1)).astype(f32)
    return img


def shape_points(rng, s):
    """Outline of a random shape of size s around the origin: ellipse, box, polygon or wavy blob."""
    k = rng.integers(4)
    if k == 0:
        t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        p = np.stack([np.cos(t), rng.uniform(0.3, 1) * np.sin(t)], 1)
    elif k == 1:
        p = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([1, rng.uniform(0.1, 1)])
    elif k == 2:
        t = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        p = np.stack([np.cos(t), np.sin(t)], 1)
    else:
        t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        rr = 1 + 0.35 * np.sin(t * rng.integers(2, 7) + rng.uniform(0, 6)) * rng.uniform(0.2, 1)
        p = np.stack([rr * np.cos(t), rr * np.sin(t)], 1)
    a = rng.uniform(0, 2 * np.pi)
    R = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return p * s @ R.T


def dead_leaves(rng, n, m=None, smin=3, smax=60):
    """Shapes of random size dropped one upon the other (the dead-leaves model of natural images)."""
    pool = [texture(rng, n, ALL_FIELDS) for _ in range(2)]
    img = pool[0].copy()
    m = m or int(np.exp(rng.uniform(np.log(20), np.log(300))))
    flat = rng.random()
    for i in range(m):
        s = 1 / rng.uniform(1 / smax, 1 / smin)
        p = shape_points(rng, s) + rng.uniform(0, n, 2)
        q = (p * 8).astype(np.int32)
        x0, y0 = np.clip(np.floor(p.min(0)).astype(int) - 2, 0, n - 1)
        x1, y1 = np.clip(np.ceil(p.max(0)).astype(int) + 3, 1, n)
        if x1 - x0 < 2 or y1 - y0 < 2:
            continue
        mk = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(mk, [q - np.array([x0, y0]) * 8], 255, cv2.LINE_AA, 3)
        mk = (mk / 255.0).astype(f32)[..., None]
        c = color(rng)
        if rng.random() > flat:
            t = pool[1][y0:y1, x0:x1]
            c = np.clip(c + (t - t.mean((0, 1))) * rng.uniform(0.3, 1.2), 0, 1)
        elif rng.random() < 0.5:
            g = np.linspace(-1, 1, x1 - x0, dtype=f32)[None, :, None] * rng.normal(0, 0.2) + np.linspace(
                -1, 1, y1 - y0, dtype=f32
            )[:, None, None] * rng.normal(0, 0.2)
            c = c + g
        reg = img[y0:y1, x0:x1]
        reg += (c - reg) * mk
    return img
