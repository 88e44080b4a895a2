"""Numbers drawn ahead are the same as those drawn step by step."""

import numpy as np
import pytest
import torch

from mlff_core.dynamics.noise import AHEAD, Noise

COUNTS = (3, 1, 5)


def generators():
    return [np.random.default_rng(7 + k) for k in range(len(COUNTS))]


def step_by_step(n_steps):
    own = generators()
    steps = [
        np.concatenate([g.standard_normal((n, 3)) for g, n in zip(own, COUNTS, strict=True)]) for _ in range(n_steps)
    ]
    return steps, [g.bit_generator.state for g in own]


@pytest.mark.parametrize("n_steps", [1, AHEAD - 1, AHEAD, AHEAD + 3])
def test_every_structure_gets_the_numbers_of_its_own_generator(n_steps):
    noise = Noise(generators(), COUNTS, torch.from_numpy)
    expected, states = step_by_step(n_steps)
    for step in expected:
        np.testing.assert_array_equal(noise.draw().numpy(), step)
    assert noise.states() == states


def test_reading_the_states_changes_no_number():
    noise, (expected, _) = Noise(generators(), COUNTS, torch.from_numpy), step_by_step(AHEAD + 9)
    for k, step in enumerate(expected):
        if k % 5 == 0:
            noise.states()
        np.testing.assert_array_equal(noise.draw().numpy(), step)


def test_a_continued_run_gets_the_next_numbers():
    first, (expected, _) = Noise(generators(), COUNTS, torch.from_numpy), step_by_step(30)
    for _ in range(20):
        first.draw()
    second = Noise([np.random.default_rng() for _ in COUNTS], COUNTS, torch.from_numpy)
    second.draw()
    second.resume(first.states())
    for step in expected[20:]:
        np.testing.assert_array_equal(second.draw().numpy(), step)
