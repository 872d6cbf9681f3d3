"""What a user believes of options: where a search starts and draws, and what its prediction sees of it."""

import numpy as np
import pytest

from nas.errors import ConfigError
from nas.search.samplers.axes import Belief
from nas.search.samplers.domain import DOUBT, Domain
from nas.search.samplers.front import START
from nas.search.samplers.gaussian_process import GaussianProcess
from nas.search.samplers.history import History
from nas.search.samplers.knowledge import history_of
from tests.search.samplers.test_front import GRID, new_study, run, total
from tests.studies import finish_all

HIGH = Belief({"x0": {3: 4.0}, "x1": {0: 0.25}})


def test_options_are_drawn_as_likely_as_they_are_believed_to_be_good():
    axes, rng = Domain(GRID, total, active=dict).axes, np.random.default_rng(0)
    drawn = [HIGH.draw(axes, rng) for _ in range(4000)]
    assert np.mean([params["x0"] == 3 for params in drawn]) == pytest.approx(4 / 7, abs=0.03)
    assert np.mean([params["x1"] == 0 for params in drawn]) == pytest.approx(0.25 / 3.25, abs=0.03)
    assert np.mean([params["x2"] == 0 for params in drawn]) == pytest.approx(1 / 4, abs=0.03)


def test_some_points_are_drawn_without_regard_to_it():
    domain = Domain(GRID, total, active=dict, belief=Belief({"x0": {3: 1e9}}))
    drawn = domain.drawn(1000, np.random.default_rng(0))
    assert np.mean([params["x0"] != 3 for params in drawn]) == pytest.approx(DOUBT * 3 / 4, abs=0.05)


def test_a_point_is_scored_beside_random_ones_and_what_does_not_act_counts_not():
    axes = Domain(GRID, total, active=dict).axes
    points = list(axes.points())
    scores = HIGH.scores(points, axes)
    assert np.mean(scores) == pytest.approx(0)
    assert np.std(scores) == pytest.approx(1)
    few = [{"x0": 3, "x1": 0}, {"x0": 3, "x1": 1}, {"x2": 0}]
    assert HIGH.scores(few, axes) == pytest.approx([0, max(scores), 0])


def test_why_says_how_well_a_network_was_believed_to_do():
    study = new_study(belief=HIGH)
    run(study, 24)
    axes = Domain(GRID, total, active=dict).axes
    scores = HIGH.scores([t.params for t in study.trials[START:]], axes)
    assert [t.user_attrs["why"]["belief_score"] for t in study.trials[START:]] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("follows", [True, False])
def test_the_prediction_follows_a_belief_to_untried_options_as_far_as_trainings_bear_it_out(follows):
    rng = np.random.default_rng(0)
    believed = History(GRID, total, belief=Belief({"x5": {0: 1 / 8, 1: 1 / 2, 2: 2.0, 3: 8.0}}))
    points = [{**believed.domain.axes.draw(rng), "x5": number % 3} for number in range(60)]
    values = np.array([[float(point["x5"]) if follows else float(point["x0"])] for point in points])
    untried = [{**believed.domain.axes.draw(rng), "x0": 1, "x5": 3} for _ in range(20)]

    def mean(history):
        seen, new = (history.features(some, [(total(point),) for point in some]) for some in (points, untried))
        axes, trends = history.axes_of_features, history.num_trends
        process = GaussianProcess(seen, values, axes=axes, trends=trends, rng=np.random.default_rng(0))
        return process.predict(new)[0].mean()

    gain = mean(believed) - mean(History(GRID, total))
    assert gain > 0.4 if follows else abs(gain) < 0.1


def test_a_belief_is_one_more_column_and_without_it_there_is_none():
    plain, believed = History(GRID, total), History(GRID, total, belief=HIGH)
    points = [plain.domain.axes.draw(np.random.default_rng(number)) for number in range(20)]
    costs = [(total(point),) for point in points]
    plain_columns, columns = plain.features(points, costs), believed.features(points, costs)
    assert columns[:, :-2] == pytest.approx(plain_columns[:, :-1])  # the unit of costs is that of points as they are drawn
    assert columns[:, -1] == pytest.approx(HIGH.scores(points, plain.domain.axes), abs=1e-5)
    assert columns.shape[1] == plain_columns.shape[1] + 1
    assert believed.num_trends == plain.num_trends + 1
    assert len(believed.axes_of_features) == len(plain.axes_of_features) + 1


def test_a_belief_is_written_by_axis_and_option_in_either_form(tiny):
    nested, dotted = tiny("prior={stage1.mixer: {conv: high}}"), tiny("prior.stage1.mixer.conv=high")
    assert nested == dotted
    assert nested.beliefs == {"stage1.mixer": {"conv": 4.0}}
    assert tiny("prior.stage1.width.16=low").beliefs == {"stage1.width": {16: 0.25}}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("prior.stage9.mixer.conv=high", r"prior.stage9.mixer: unknown axis 'stage9.mixer'; did you mean stage"),
        ("prior.stage1.mixer.attention=high", r"prior.stage1.mixer.attention: unknown value of stage1.mixer 'attention'"),
        ("prior.stage1.width.17=high", r"prior.stage1.width.17: unknown value of stage1.width '17'"),
        ("prior.stage1.mixer.conv=very", r"prior.stage1.mixer.conv: unknown belief 'very'. Known: high, low"),
        ("prior.stage1.mixer.conv=2", r"prior.stage1.mixer.conv: unknown belief '2'"),
        ("prior=high", r"prior: "),
        ("prior.stage1.mixer=high", r"prior."),
    ],
)
def test_a_belief_in_what_does_not_exist_is_refused(tiny, setting, message):
    with pytest.raises(ConfigError, match=message):
        tiny(setting)


def test_only_the_sampler_that_heeds_it_may_be_given_a_belief(tiny):
    with pytest.raises(ConfigError, match="prior: needs the sampler front"):
        tiny("prior.stage1.mixer.conv=high", "search.sampler=tpe")


def test_a_search_draws_what_is_believed_more_often_and_says_how_well_each_network_was_thought_of(opened, tiny):
    study = opened(tiny("prior={stage1.mixer: {conv: high}}", "search.trials=20"))
    shares = []
    for history in (study._history, history_of(tiny())):
        drawn = history.domain.drawn(2000, np.random.default_rng(0))
        shares.append(np.mean([params["stage1.mixer"] == "conv" for params in drawn]))
    assert shares[0] > shares[1] + 0.03
    finish_all(study)
    assert all(record.why.belief_score is not None for record in study.records[START:])
