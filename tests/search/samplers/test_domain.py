"""Points that may be proposed, on a grid small enough to count."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from nas.errors import Infeasible, NasError
from nas.search.samplers.domain import FEWEST, Domain, Tried, key_of
from nas.search.samplers.history import log_costs

GRID = {"a": IntDistribution(0, 2), "b": CategoricalDistribution(["x", "y"])}


def domain(cost=lambda params: 1.0 + params["a"], active=dict):
    return Domain(GRID, cost, active=active)


def test_costs_come_as_a_tuple_and_none_for_what_is_refused():
    assert domain().costs({"a": 2, "b": "x"}) == (3.0,)
    assert domain(lambda params: (1.0, 2.0)).costs({"a": 0, "b": "x"}) == (1.0, 2.0)
    assert domain(lambda params: None).costs({"a": 0, "b": "x"}) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_cost_that_is_no_number_is_refused_with_its_point(bad):
    with pytest.raises(NasError, match=r"must give a finite number or None.*'a': 1"):
        domain(lambda params: bad).costs({"a": 1, "b": "x"})


def test_a_draw_is_never_what_the_cost_refuses():
    only = domain(lambda params: 1.0 if params == {"a": 1, "b": "y"} else None)
    assert only.draw(np.random.default_rng(0)) == {"a": 1, "b": "y"}


def test_a_domain_without_points_says_so():
    with pytest.raises(Infeasible, match="gave None for each of"):
        domain(lambda params: None).draw(np.random.default_rng(0))


def test_the_untried_point_is_a_neighbour_while_there_is_one_and_none_in_the_end():
    rng, tried = np.random.default_rng(0), [{"a": 0, "b": "x"}]
    found = domain().untried(Tried(map(key_of, tried)), rng)
    assert sum(found[n] != tried[0][n] for n in GRID) == 1
    everything = [{"a": a, "b": b} for a in range(3) for b in "xy"]
    assert domain().untried(Tried(map(key_of, everything)), rng) is None


def test_a_point_with_fewer_parameters_stands_for_all_that_agree_with_it():
    tried = Tried([key_of({"a": 1})])
    assert {"a": 1, "b": "x"} in tried and {"a": 2, "b": "x"} not in tried


LARGE = {f"x{i}": IntDistribution(0, 99) for i in range(6)}


def rare(low, high, **options):
    """A domain of 10^12 points of which those may be proposed whose sum lies between two numbers."""

    def excess(params):
        total = sum(params.values())
        return max(0.0, low - total, total - high)

    return Domain(LARGE, lambda p: float(sum(p.values())) if excess(p) == 0 else None, active=dict, excess=excess, **options)


@pytest.mark.parametrize(("low", "high"), [(300, 300), (0, 2), (592, 594), (50, 52)])
def test_points_that_hardly_any_draw_meets_are_reached_by_repair(low, high):
    space, rng = rare(low, high), np.random.default_rng(0)
    points = [space.draw(rng) for _ in range(5)]
    assert all(low <= sum(point.values()) <= high for point in points)
    assert len({tuple(point.values()) for point in points}) > 1


def test_as_many_points_are_drawn_as_asked_for_and_a_few_where_few_may_be_proposed():
    rng = np.random.default_rng(0)
    assert len(rare(0, 600).drawn(50, rng)) == 50
    few = rare(300, 300).drawn(50, rng)
    assert len(few) >= FEWEST
    assert all(sum(point.values()) == 300 for point in few)


def test_a_draw_costs_no_more_where_one_in_a_hundred_thousand_may_be_proposed():
    looked_at = []
    space = Domain(
        LARGE,
        lambda p: looked_at.append(p) if sum(p.values()) != 594 else 594.0,
        active=dict,
        excess=lambda p: looked_at.append(p) or abs(sum(p.values()) - 594),
    )
    assert len(space.drawn(240, np.random.default_rng(0))) == FEWEST
    assert len(looked_at) < 10_000


def test_costs_in_any_unit_look_alike():
    points = [{"a": a, "b": "x"} for a in range(3)]
    small, large = (domain(lambda p, unit=unit: unit * (1.0 + p["a"])) for unit in (1e-9, 1e15))
    logarithms = [log_costs(d, [d.costs(p) for p in points]) for d in (small, large)]
    assert logarithms[0] == pytest.approx(logarithms[1])
    assert np.ptp(logarithms[0]) == pytest.approx(np.log(3), rel=1e-3)


def test_a_cost_of_nothing_has_a_finite_logarithm():
    free = domain(lambda params: 0.0)
    assert np.isfinite(log_costs(free, [(0.0,)])).all()


def test_draws_are_what_they_were_where_many_points_may_be_proposed():
    space = rare(200, 600)
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    assert space.drawn(20, one) == [space.draw(other) for _ in range(20)]


def test_without_a_distance_nothing_is_repaired():
    nowhere = Domain(LARGE, lambda params: None, active=dict)
    with pytest.raises(Infeasible, match="random points"):
        nowhere.draw(np.random.default_rng(0))
