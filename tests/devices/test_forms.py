"""Forms of operators that a machine chooses by its own times."""

import errno
import fcntl
import json
import os

import pytest
import torch

from nas.devices import forms
from nas.devices.forms import cases, forms_here, taking
from nas.errors import NasError
from nas.models.operators import TAKEN


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """An empty cache folder of this test's own."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    return tmp_path / "forms"


def operations(y):
    """The names of all steps of the backward pass from `y`."""
    names, waiting = [], [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.append(type(node).__name__)
            waiting += [following for following, _ in node.next_functions]
    return sorted(names)


@pytest.mark.parametrize("dtype", list(TAKEN), ids=str)
def test_every_form_has_a_case_in_which_it_counts_and_gives_the_same_numbers(dtype):
    timed = {case.form: case for case in cases(dtype)}
    assert set(timed) >= TAKEN[dtype]
    for form, case in timed.items():
        given = []
        for taken in ([form], []):
            with taking(taken, dtype), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                given.append(case.operator(case.x.detach().clone(memory_format=torch.preserve_format).requires_grad_()))
        ours, theirs = given
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.02, atol=0.5 if dtype == torch.bfloat16 else 1e-3)
        assert (operations(ours), ours.dtype) != (operations(theirs), theirs.dtype), form


def test_a_form_is_left_or_taken_only_where_the_other_is_clearly_faster(kept, monkeypatch):
    times = {"pool_as_filter": (1.2, 1.0), "attention_as_products": (1.0, 1.2), "map_as_product": (1.0, 1.5)}
    monkeypatch.setattr(forms, "_timed", lambda dtype: times)
    assert forms_here(torch.float32) == ("map_as_product", "pool_as_filter")
    times = {"pool_as_filter": (1.4, 1.0)}
    assert forms_here(torch.float32) == ("map_as_product", "pool_as_filter")  # as it was kept
    [file] = kept.glob("*.json")
    file.write_text("{")
    assert forms_here(torch.float32) == ()
    assert json.loads(file.read_text())["forms"] == []


def test_a_form_that_is_newer_than_what_was_kept_is_timed(kept, monkeypatch):
    monkeypatch.setattr(forms, "_timed", lambda dtype: {form: (1.0, 1.0) for form in TAKEN[dtype]})
    forms_here(torch.bfloat16)
    [file] = kept.glob("*.json")
    old = json.loads(file.read_text())
    file.write_text(json.dumps({"forms": [], "seconds": {k: v for k, v in old["seconds"].items() if k != "norm_in_float32"}}))
    assert forms_here(torch.bfloat16) == tuple(sorted(TAKEN[torch.bfloat16]))


def test_what_is_measured_is_measured(kept):
    with torch.no_grad():
        found = forms_here(torch.float32)
    [file] = kept.glob("*.json")
    seconds = json.loads(file.read_text())["seconds"]
    assert set(found) <= set(seconds) == {"pool_as_filter", "attention_as_products", "map_as_product"}
    assert all(0 < second < 10 for pair in seconds.values() for second in pair)


def test_a_cache_that_cannot_be_written_is_measured_anew(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(forms, "_timed", lambda dtype: {})
    assert forms_here(torch.float32) == ()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_is_full_or_knows_no_locks_ends_no_training(kept, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(forms, "write_whole", lambda *_: (_ for _ in ()).throw(NasError("full")))
    monkeypatch.setattr(forms, "_timed", lambda dtype: {"map_as_product": (1.0, 2.0)})
    assert forms_here(torch.float32) == ("map_as_product",)


def test_forms_end_with_their_block():
    before = TAKEN[torch.float32]
    with pytest.raises(KeyError), taking(["map_as_product"], torch.float32):
        assert TAKEN[torch.float32] == {"map_as_product"}
        raise KeyError
    assert TAKEN[torch.float32] is before
