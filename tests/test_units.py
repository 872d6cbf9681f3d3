import pytest

from nas.units import count, duration, milliseconds, percent, quantity


@pytest.mark.parametrize(
    ("text", "number"), [("2.0G", 2_000_000_000), ("20M", 20_000_000), ("1.5 k", 1500), ("300", 300), (7, 7)]
)
def test_quantities_read_as_people_write_them(text, number):
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["two", "2.0.0G", "-3M", "", None, [1]])
def test_what_is_no_quantity_is_left_for_the_type_check(text):
    assert quantity(text) == text


def test_numbers_read_as_people_expect():
    assert (count(1_822_000_000), count(26_774_000), count(547_840), count(999)) == ("1.82 G", "26.8 M", "548 k", "999")
    assert (percent(0.9342), percent(None)) == ("93.4 %", "-")
    assert (count(999_600), count(9_996_000), count(99_960_000)) == ("1.00 M", "10.0 M", "100 M")
    assert (milliseconds(12.34), milliseconds(1640), milliseconds(150_000)) == ("12.3", "1.64 s", "2 min")
    assert (duration(0.0), duration(0.0000002), duration(0.036), duration(3.6)) == ("0 s", "under 1 ms", "0.036 s", "3.6 s")
    assert (duration(45), duration(720), duration(11_520)) == ("45 s", "12 min", "3 h 12 min")


def test_a_count_beyond_all_numbers_is_left_as_it_is():
    assert quantity("9" * 400) == "9" * 400
