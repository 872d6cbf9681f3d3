"""What the command line says of a run."""

from nas.results.report import remarks
from nas.search.record import Record


def test_trainings_that_were_not_quite_as_the_recipe_says_are_counted_by_trial():
    epochs = [{}, {"retried": "diverged: loss nan"}, {"pieces": 4}, {"retried": None, "pieces": 1}]
    records = [Record(number=i, state="complete", curve=(epoch,)) for i, epoch in enumerate(epochs)]
    retried, cut = remarks([*records, Record(number=9, state="failed")])
    assert "begun again once at a lower learning rate: 1 (trials 1)" in retried
    assert "for want of memory: 1 (trials and pieces 2 (4))" in cut


def test_ordinary_trainings_need_no_remark():
    assert remarks([Record(number=0, state="complete", curve=({"epoch": 1},))]) == []
