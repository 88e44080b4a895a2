"""Radial basis and envelope with their derivatives, for a tile of edges."""

import triton
import triton.language as tl


@triton.jit
def sine_and_cosine(turns, DOUBLE: tl.constexpr):
    """Return sin(π t) and cos(π t), by Taylor series after t is reduced to −½…½."""
    whole = tl.floor(turns + 0.5)
    x = (turns - whole) * 3.141592653589793
    x2 = x * x
    if DOUBLE:
        tail_s = 1.0 - x2 / 156.0 * (1.0 - x2 / 210.0 * (1.0 - x2 / 272.0 * (1.0 - x2 / 342.0 * (1.0 - x2 / 420.0))))
        tail_c = 1.0 - x2 / 132.0 * (1.0 - x2 / 182.0 * (1.0 - x2 / 240.0 * (1.0 - x2 / 306.0 * (1.0 - x2 / 380.0))))
    else:
        tail_s = 1.0 - x2 * (1.0 / 156.0)
        tail_c = 1.0 - x2 * (1.0 / 132.0)
    sine = 1.0 - x2 * (1.0 / 72.0) * (1.0 - x2 * (1.0 / 110.0) * tail_s)
    sine = x * (1.0 - x2 * (1.0 / 6.0) * (1.0 - x2 * (1.0 / 20.0) * (1.0 - x2 * (1.0 / 42.0) * sine)))
    cosine = 1.0 - x2 * (1.0 / 56.0) * (1.0 - x2 * (1.0 / 90.0) * tail_c)
    cosine = 1.0 - x2 * 0.5 * (1.0 - x2 * (1.0 / 12.0) * (1.0 - x2 * (1.0 / 30.0) * cosine))
    sign = 1.0 - 2.0 * (whole - 2.0 * tl.floor(0.5 * whole))
    return sign * sine, sign * cosine


@triton.jit
def envelope(x):
    """Return 1 − 28x⁶ + 48x⁷ − 21x⁸ and its derivative; both are zero for x ≥ 1."""
    x = tl.minimum(x, 1.0)
    x2 = x * x
    x6 = x2 * x2 * x2
    return 1.0 - x6 * (28.0 - x * (48.0 - 21.0 * x)), -168.0 * x2 * x2 * x * (1.0 - x) * (1.0 - x)


@triton.jit
def enveloped_basis(
    r, CUTOFF: tl.constexpr, N_RADIAL: tl.constexpr, GAUSSIAN: tl.constexpr, BLOCK_K: tl.constexpr, DOUBLE: tl.constexpr
):
    """Return (basis × envelope, its derivative), each (edges, BLOCK_K); a column of 1 for the bias follows."""
    k = tl.arange(0, BLOCK_K)
    number = k.to(r.dtype)
    distance = r[:, None]
    if GAUSSIAN:
        width = CUTOFF / (N_RADIAL - 1)
        x = (distance - number[None, :] * width) / width
        value = tl.exp(-0.5 * x * x)
        derivative = -x / width * value
    else:
        sine, cosine = sine_and_cosine((number[None, :] + 1.0) * (distance / CUTOFF), DOUBLE)
        value = sine / distance
        derivative = ((number[None, :] + 1.0) * (3.141592653589793 / CUTOFF) * cosine - value) / distance
    is_basis = (k < N_RADIAL)[None, :]
    value = tl.where(is_basis, value, tl.where((k == N_RADIAL)[None, :], 1.0, 0.0).to(r.dtype))
    derivative = tl.where(is_basis, derivative, 0.0)
    u, du = envelope(r / CUTOFF)
    return value * u[:, None], derivative * u[:, None] + value * (du / CUTOFF)[:, None]


@triton.jit
def held_distance(r, inverse_length, CORE: tl.constexpr, WIDTH: tl.constexpr):
    """Return the distance used by the filters and its derivative; see ``mlff_core/model/distance_floor.py``."""
    y = r * inverse_length
    t = tl.minimum(tl.maximum((y - (CORE - WIDTH)) / WIDTH, 0.0), 1.0)
    t2 = t * t
    held = (CORE - WIDTH * (0.5 - t2 * t2 * (t2 - 3.0 * t + 2.5))) / inverse_length
    derivative = t2 * t * (t * (6.0 * t - 15.0) + 10.0)
    inside = y < CORE
    return tl.where(inside, held, r), tl.where(inside, derivative, 1.0)


@triton.jit
def repulsion(r, inverse_screening, inverse_range, prefactor):
    """Return the ZBL energy of directed edges and its derivative in the distance; see ``mlff_core/model/zbl.py``."""
    x = r * inverse_screening
    a = 0.18175 * tl.exp(-3.19980 * x)
    b = 0.50986 * tl.exp(-0.94229 * x)
    c = 0.28022 * tl.exp(-0.40290 * x)
    d = 0.02817 * tl.exp(-0.20162 * x)
    screening = a + b + c + d
    screening_derivative = -(3.19980 * a + 0.94229 * b + 0.40290 * c + 0.20162 * d) * inverse_screening
    u, du = envelope(r * inverse_range)
    energy = prefactor / r * screening * u
    derivative = prefactor / r * (screening_derivative * u + screening * du * inverse_range - screening * u / r)
    return energy, derivative
