"""What is proposed for somebody's images: never more than the time allows, and always a search that can be read."""

import pytest

from nas.config.text import parse_yaml
from nas.recipes.proposal import TRIALS_WITHIN, ImageFacts, in_yaml, proposal
from nas.run.settings.search import check_possible, read_search

PHOTOS = ImageFacts(classes=10, images=5_000, fewest=400, side=300)


def proposed(facts, *, hours=1.0, speed=1e10, workers=2, has_gpu=False) -> dict:
    settings = proposal(
        facts, hours=hours, workers=workers, macs_at=lambda side: 5e3 * side**2, macs_a_second=speed, has_gpu=has_gpu
    )
    assert all(setting.why for setting in settings)
    return {setting.path: setting.value for setting in settings}


@pytest.mark.thorough
@pytest.mark.parametrize("images", [60, 700, 5_000, 1_000_000])
@pytest.mark.parametrize("side", [8, 32, 100, 500])
@pytest.mark.parametrize("hours", [0.1, 1.0, 24.0])
def test_every_proposal_is_a_search(tmp_path, images, side, hours):
    facts = ImageFacts(classes=6, images=images, fewest=10, side=side)
    settings = proposal(facts, hours=hours, workers=2, macs_at=lambda s: 5e3 * s**2, macs_a_second=1e10, has_gpu=False)
    text = in_yaml(settings, head=["made"], name="mine", extends="hybrid", data="/some: 'where'")
    (tmp_path / "mine.yaml").write_text(text)
    search = read_search(tmp_path / "mine.yaml")
    assert search.proxy.data == "/some: 'where'" and search.space.num_classes == 6 and search.name == "mine"
    assert parse_yaml(text, where="it")["proxy"]["epochs"] == search.proxy.epochs
    check_possible(search)


def test_more_time_buys_larger_images_then_all_of_them():
    short, long = proposed(PHOTOS, hours=0.2), proposed(PHOTOS, hours=24.0)
    assert short["proxy.image_size"] == 68 and short["proxy.images_per_class"] < 500
    assert long["proxy.image_size"] == 132 and long["proxy.images_per_class"] is None


def test_images_are_never_enlarged_beyond_what_a_map_needs():
    assert proposed(PHOTOS._replace(side=80), hours=24.0)["proxy.image_size"] == 68


def test_small_images_are_counted_as_they_are():
    small = proposed(PHOTOS._replace(side=32))
    assert small["space.image_size"] == 64 and small["constraints.macs"]["max"] == "0.082G"


def test_a_gpu_is_shared_and_its_speed_is_not_made_up():
    assert proposed(PHOTOS, speed=None, has_gpu=True)["resources.gpu"] == 0.25
    assert "resources.gpu" not in proposed(PHOTOS)


def test_more_time_buys_more_trials_and_less_buys_fewer():
    few = PHOTOS._replace(images=300, fewest=20)
    trials = [proposed(few, hours=hours, speed=1e9)["search.trials"] for hours in (0.01, 0.5, 2.0, 1000.0)]
    assert trials == sorted(trials) and (trials[0], trials[-1]) == TRIALS_WITHIN and 12 < trials[2] < 200
