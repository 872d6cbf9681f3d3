"""Where a token comes from, in Ray's order, and that a Ray of our own has one that nobody else knows."""

import os

import pytest

from nas.cluster.authentication import KUBERNETES, MODE, TOKEN, TOKEN_PATH, own_token, shown, token_source


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in (MODE, TOKEN, TOKEN_PATH, KUBERNETES):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_a_token_is_looked_for_where_ray_looks_and_in_its_order(home, monkeypatch):
    assert token_source() is None
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text(" \n")
    assert token_source() is None
    file.write_text("5" * 32)
    assert token_source() == "~/.ray/auth_token"
    monkeypatch.setenv(TOKEN_PATH, str(file))
    assert token_source() == f"{file} (RAY_AUTH_TOKEN_PATH)"
    monkeypatch.setenv(TOKEN, "6" * 32)
    assert token_source() == "RAY_AUTH_TOKEN"
    monkeypatch.setenv(KUBERNETES, "true")
    assert token_source() == "the pod's service account (RAY_ENABLE_K8S_TOKEN_AUTH)"


def test_every_ray_of_our_own_has_a_new_token_unless_the_user_switched_them_off(monkeypatch):
    monkeypatch.setenv(TOKEN, "of a cluster")
    first, second = own_token(), own_token()
    assert first[MODE] == "token" and len(first[TOKEN]) == 64
    assert first[TOKEN] != second[TOKEN]
    monkeypatch.setenv(MODE, "disabled")
    assert own_token() == {MODE: "disabled"}


def test_the_environment_is_afterwards_what_it_was(monkeypatch):
    monkeypatch.setenv(TOKEN, "of a cluster")
    with shown({MODE: "token", TOKEN: "own"}):
        assert (os.environ[MODE], os.environ[TOKEN]) == ("token", "own")
    assert (os.environ.get(MODE), os.environ[TOKEN]) == (None, "of a cluster")
