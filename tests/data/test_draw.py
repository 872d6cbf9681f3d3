"""What a recipe's images take of a machine, before any of them is decoded for good."""

import pytest

from nas.data.draw import data_cost
from nas.errors import ConfigError
from nas.recipes.recipe import Recipe
from tests.images import class_folders, manifest_of


def test_what_images_cost_is_said_of_those_that_would_be_drawn(tmp_path, own_cache):
    class_folders(tmp_path / "images", images=20)
    values = {"image_size": 8, "images_per_class": 10}
    costs = data_cost(Recipe(data=str(tmp_path / "images"), **values), seed=0)
    assert not list(own_cache.glob("*"))
    manifest = manifest_of(tmp_path / "images", **values)
    sizes = [len(getattr(manifest, split)) for split in ("train", "validation", "test")]
    assert [costs.train, costs.validation, costs.test] == sizes and costs.num_images == sum(sizes)
    assert costs.cache_bytes == sum(sizes) * 3 * 8**2
    assert costs.cache_bytes == pytest.approx(sum(f.stat().st_size for f in own_cache.glob("*.npy")), abs=3 * 128)
    assert costs.decoding_seconds > 0 and costs.listing_seconds > 0


def test_data_that_cannot_serve_is_refused_before_it_is_reckoned(tmp_path):
    class_folders(tmp_path / "images", images=2)
    with pytest.raises(ConfigError, match="every class must have at least 50 readable training images"):
        data_cost(Recipe(data=str(tmp_path / "images"), images_per_class=50), seed=0)
