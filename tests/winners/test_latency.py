"""The verb `latency`: names into deployed networks, one table or one JSON object, one message for what is wrong."""

import json
import sys

import pytest
from torch import nn

from nas.cli.main import main
from nas.results.front import load
from nas.run.folder import open_folder
from nas.search.study import Study
from nas.winners.latency import network_of

SMALL = ["--batch", "1", "--image-size", "32", "--repeats", "2", "--warm-up", "1", "--threads", "1"]


def nas(monkeypatch, *args):
    """The exit code of `nas ARGS`."""
    monkeypatch.setattr(sys, "argv", ["nas", *args])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


def test_an_affine_mixer_is_measured_merged():
    mixers = [block.token_mixer for stage in network_of("riformer_s12_train", image_size=32).stages for block in stage.blocks]
    assert {type(mixer) for mixer in mixers} == {nn.Identity}


def test_timms_models_of_a_fixed_size_are_built_for_the_images():
    assert network_of("timm:deit_tiny_patch16_224", image_size=32).patch_embed.img_size == (32, 32)


def test_json_holds_conditions_machine_and_each_networks_spread(monkeypatch, capsys):
    assert nas(monkeypatch, "latency", "poolformer_s12", "riformer_s12", *SMALL, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["conditions"]["batch"] == 1 and found["fingerprint"]["device"] == "cpu"
    assert [result["name"] for result in found["results"]] == ["poolformer_s12", "riformer_s12"]
    assert found["results"][0]["speed"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert set(found["results"][1]["batch_ms"]) == {"median", "low", "high"}


def test_the_table_says_what_was_measured_on_what(monkeypatch, capsys):
    assert nas(monkeypatch, "latency", "riformer_s12_train", *SMALL, "--channels-last", "--dtype", "bfloat16") == 0
    shown = capsys.readouterr().out
    for said in ("riformer_s12_train", "batch 1, 32 px, bfloat16, channels_last, torch", "2 rounds", "threads 1", "torch"):
        assert said in shown


@pytest.mark.parametrize(
    "args, message",
    [
        (["poolfomer_s12"], "unknown design 'poolfomer_s12'; did you mean poolformer_s12"),
        (["timm:resnet1"], "unknown model of timm 'resnet1'; did you mean resnet18"),
        (["poolformer_s12", "--dtype", "float"], "dtype: unknown dtype 'float'; did you mean float"),
        (["poolformer_s12", "--device", "gpu"], "--device must be cpu, cuda or cuda:N, but got 'gpu'"),
        (["poolformer_s12", "--device", "cuda:99"], "--device cuda:99: no such CUDA device here"),
        (["poolformer_s12", "--image-size", "16"], "an image of 16 px is too small for 4 stages"),
        (["missing/run.json"], "missing/run.json: cannot be read"),
    ],
)
def test_what_a_user_can_mend_is_one_message_and_exit_code_2(monkeypatch, capsys, args, message):
    assert nas(monkeypatch, "latency", *args) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_the_cost_of_images_too_small_for_four_stages_is_one_message_too(monkeypatch, capsys):
    assert nas(monkeypatch, "cost", "caformer_b36", "--image-size", "18") == 2
    assert "Use at least 19 px" in capsys.readouterr().err


def test_a_runs_networks_are_measured_into_its_record_once_and_give_a_front_of_their_own(monkeypatch, capsys, tiny, tmp_path):
    search = tiny("search.trials=3", "search.sampler=random")
    folder = open_folder(tmp_path / "run", search)
    study = Study(search, folder, manifest_hash="feed")
    for accuracy in (0.5, 0.6, 0.7):
        study.finish(study.propose().number, accuracy=accuracy, seconds=1.0)
    study.close()
    assert nas(monkeypatch, "front", str(folder.root), "--x", "latency_ms") == 2
    assert "nas latency --help" in capsys.readouterr().err
    quick = ["--batch", "1", "--repeats", "2", "--warm-up", "0", "--threads", "1"]
    assert nas(monkeypatch, "latency", str(folder.root), *quick, "--most", "2") == 0
    assert "1 farther from the front were not asked for" in capsys.readouterr().out
    before = load(folder.root).set_index("trial")["latency_ms"].dropna()
    assert len(before) == 2 and (before > 0).all()
    assert nas(monkeypatch, "latency", str(folder.root), *quick) == 0
    assert "1 networks measured, 2 were in the record" in capsys.readouterr().out
    after = load(folder.root, latency="batch 1").set_index("trial")["latency_ms"].dropna()
    assert len(after) == 3 and after[before.index].equals(before)
    assert nas(monkeypatch, "front", str(folder.root), "--x", "latency_ms", "--latency", "cuda") == 2
    assert "no latency was recorded for 'cuda', but for:\n  cpu" in capsys.readouterr().err
    assert nas(monkeypatch, "latency", str(folder.root), "poolformer_s12") == 2
    assert "a run is measured alone" in capsys.readouterr().err
