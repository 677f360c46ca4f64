"""Generated sounds: repeatable, varied within a family, distinct between families."""

import numpy as np
import pytest

import preprocess
from sounds import FAMILIES, sound


@pytest.mark.parametrize("family", range(16), ids=list(FAMILIES))
def test_form(family):
    y = sound(family, 3, seconds=2.6, sr=44100, channels=2)
    assert y.dtype == np.float32
    assert y.shape == (114660, 2)
    assert np.isfinite(y).all()
    assert 0.3 <= np.abs(y).max() <= 0.91
    assert np.array_equal(y, sound(family, 3, seconds=2.6, sr=44100, channels=2))
    assert not np.array_equal(y, sound(family, 4, seconds=2.6, sr=44100, channels=2))
    assert sound(family, 3, seconds=1).shape == (22050,)


def frequency_profile(y):
    """Mean and spread over time of each mel band, in dB: where a sound is, and how much it moves there."""
    image = preprocess.prepare((y, 22050), "article-b", spectrum="mel").rows[0, 0]
    return np.concatenate([image.mean(1), image.std(1)])


def test_every_excerpt_shows_the_family():
    """Excerpts of 2.6 s from anywhere are nearer to their own family's mean than to any other's."""
    means = [np.mean([frequency_profile(sound(f, seed, seconds=5)) for seed in range(4)], 0) for f in range(16)]
    rng = np.random.default_rng(0)
    right = []
    for family in range(16):
        y = sound(family, 50, seconds=30)
        for start in rng.integers(0, 27 * 22050, 4):
            excerpt = frequency_profile(y[start : start + int(2.6 * 22050)])
            right.append(np.argmin([np.linalg.norm(excerpt - mean) for mean in means]) == family)
    assert np.mean(right) >= 0.9, f"{np.mean(right):.2f}"
