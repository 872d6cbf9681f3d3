"""What is measured of a block is what the closed forms of our own mixers say."""

import pytest

from nas.models.mixers import mixer_class
from nas.space.architecture import Stage
from nas.space.mixers import BUILT_IN, MIXERS
from nas.space.plugins.measuring import measured, weights_of_positions


@pytest.mark.parametrize("name", sorted({*BUILT_IN} - {"pool"}))  # which computes its average as a convolution here
@pytest.mark.parametrize("side", [4, 7])
def test_our_own_mixers_are_measured_as_they_are_counted(name, side):
    stage, row = Stage(mixer=name, depth=1, width=64, activation="gelu"), MIXERS[name]
    made = mixer_class(name)
    counts, counted = measured(made, stage, side=side, tokens=row.needs_tokens), row.cost(stage, side**2)
    assert counts[:3] == counted[:3]
    assert counts.activations == row.uses_activation
    assert counts.floats == pytest.approx(counted.activation_bytes, rel=0.25)  # a closed form may fuse what torch keeps
    assert weights_of_positions(made, stage, side=side) == set(row.position_weights)
