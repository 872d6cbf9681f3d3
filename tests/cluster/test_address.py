"""An address that is none, or where no head of Ray's answers, is one message in seconds."""

import socket
import subprocess

import pytest

from nas.cluster import address as module
from nas.cluster.address import Cluster, reach
from nas.cluster.authentication import MODE, TOKEN, TOKEN_PATH
from nas.errors import NasError


@pytest.fixture(autouse=True)
def no_token(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in (MODE, TOKEN, TOKEN_PATH, "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(module.ray._private.services, "resolve_ip_for_localhost", str)  # the servers here listen to no network


@pytest.fixture
def silent():
    """HOST:PORT of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["ray://head:10001", "ray://head", "ray://", "ray://10.0.0.1:10001"])
def test_rays_client_is_refused_with_what_to_give_instead(address):
    with pytest.raises(
        NasError, match=r"must be auto or HOST:PORT of the cluster's head, but ray:// is Ray's client.* with auto or"
    ):
        reach(address)


@pytest.mark.parametrize(
    "address",
    ["http://head:8265", "https://head", "head", "head:", ":6379", "head:six", "head:-1", "::1", "local", "", "a/b:1"],
)
def test_what_is_no_address_is_refused_with_the_form(address):
    with pytest.raises(NasError, match=r"must be auto or HOST:PORT of the cluster's head, such as 10\.0\.0\.1:6379"):
        reach(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "a..b:1234", "127.0.0.1:99999", "127.0.0.1:0"])
def test_an_address_where_nobody_answers_is_said_in_seconds(address):
    with pytest.raises(NasError, match="nobody answers there"):
        reach(address)


def test_auto_where_no_cluster_runs_says_how_to_start_one(monkeypatch):
    def none(*_):
        raise ConnectionError

    monkeypatch.setattr(module.ray._private.services, "get_ray_address_from_environment", none)
    with pytest.raises(NasError, match=r"no Ray runs on this machine\. Start one with `ray start --head`"):
        reach("auto")


def test_auto_of_a_client_is_refused_as_the_client_is(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(NasError, match=r"resources\.address auto \(ray://head:10001\): must be auto or"):
        reach("auto")


def test_what_answers_but_is_no_head_of_rays_is_said_in_seconds(monkeypatch, silent):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1)
    with pytest.raises(NasError, match=r"Ray's head must answer there, but something else does \(no answer in 1 s\)"):
        reach(silent)


def knocking(monkeypatch, *, token: str | None):
    """A head that asks for this token, or for none."""

    def run(command, *, env, **_):
        welcome = token is None or (env[MODE] == "token" and env.get(TOKEN) == token)
        return subprocess.CompletedProcess(command, 0, f"answer {'welcome' if welcome else 'AuthenticationError'}\n", "")

    monkeypatch.setattr(module.subprocess, "run", run)


@pytest.mark.parametrize("asked", [None, "disabled", "token"])
def test_a_cluster_without_tokens_is_joined_whatever_the_user_has(monkeypatch, silent, asked):
    knocking(monkeypatch, token=None)
    if asked:
        monkeypatch.setenv(MODE, asked)
    assert reach(silent) == Cluster(silent, {MODE: "disabled"})


@pytest.mark.parametrize("asked", [None, "", "token", "TOKEN"])
def test_a_cluster_with_a_token_is_joined_with_it(monkeypatch, silent, asked):
    knocking(monkeypatch, token="5" * 32)
    monkeypatch.setenv(TOKEN, "5" * 32)
    if asked is not None:
        monkeypatch.setenv(MODE, asked)
    assert reach(silent) == Cluster(silent, {MODE: "token"})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {},
            "there is none in RAY_AUTH_TOKEN, a file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token",
        ),
        ({MODE: "token"}, "asks for its token, but there is none in RAY_AUTH_TOKEN"),
        ({TOKEN: "another"}, "refuses the token in RAY_AUTH_TOKEN"),
        ({TOKEN: "5" * 32, MODE: "disabled"}, "asks for its token, but RAY_AUTH_MODE is disabled. Unset it"),
        ({TOKEN_PATH: "/nowhere"}, "RAY_AUTH_TOKEN_PATH must name a file with Ray's token, but /nowhere cannot be read"),
        ({MODE: "tokne"}, "RAY_AUTH_MODE must be token or disabled, but is 'tokne'"),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_said_by_its_name_and_never_shown(monkeypatch, silent, variables, message):
    knocking(monkeypatch, token="5" * 32)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NasError, match=message) as raised:
        reach(silent)
    assert "another" not in str(raised.value)
