"""What the command line says at the end of a search."""

import json

import pandas as pd

from nas.results.ending import remarks


def trials(*curves):
    return pd.DataFrame({"trial": range(len(curves)), "curve": [json.dumps(curve) for curve in curves]})


def test_trainings_that_were_not_quite_as_the_recipe_says_are_counted_by_trial():
    epochs = [{}, {"retried": "diverged: loss nan"}, {"pieces": 4}, {"retried": None, "pieces": 1}]
    retried, cut = remarks(trials(*([epoch] for epoch in epochs), []))
    assert "begun again once at a lower learning rate: 1 (trials 1)" in retried
    assert "for want of memory: 1 (trials and pieces 2 (4))" in cut


def test_ordinary_trainings_need_no_remark():
    assert remarks(trials([{"epoch": 1}])) == []
