"""A mixer of one file, from the YAML to a network in bare timm, with no edit elsewhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]
SPACE = """
name: own
extends: {tiny}
space:
  plugins: [gated_mixer.py]
  all_stages: {{mixer: [gated, attention], gate_kernel: [3, 5]}}
  stages:
    1: {{mixer: gated}}
    2: {{mixer: [gated, attention]}}
    3: {{mixer: [gated, attention]}}
search: {{trials: 3}}
proxy: {{mixer_lr: {{gated: 0.5}}}}
"""
BARE = """
import importlib.util, json, sys
sys.modules["nas"] = None
name = json.load(open("exported/config.json"))["architecture"]
spec = importlib.util.spec_from_file_location(name, "exported/model.py")
sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
import timm, torch
network = timm.create_model("local-dir:exported", pretrained=True).eval()
print(sum(type(m).__name__ == "GatedConv" for m in network.modules()), tuple(network(torch.rand(1, 3, 32, 32)).shape))
"""


def nas(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nas", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=None
    )
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_plugins_mixer_goes_all_the_way(tmp_path):
    shutil.copy(ROOT / "search_spaces" / "gated_mixer.py", tmp_path)
    (tmp_path / "own.yaml").write_text(SPACE.format(tiny=ROOT / "search_spaces" / "tiny.yaml"))
    nas(tmp_path, "search", "own.yaml", "--out", "run")
    trial = str(pd.read_csv(tmp_path / "run" / "front.csv")["trial"].iloc[0])

    (copy,) = (tmp_path / "run" / "plugins").glob("gated_mixer-*.py")
    code = copy.read_text()
    copy.write_text("raise SystemExit('ran')")
    shown = [nas(tmp_path, *verb) for verb in (("front", "run"), ("report", "run"), ("show", f"run:{trial}"), ("list", "."))]
    assert "G gated" in shown[0] and "gate_kernel" in shown[2]
    assert "holds other code" in nas(tmp_path, "export", f"run:{trial}", "--out", "exported", code=2)
    copy.write_text(code)

    assert "in the record already" in nas(tmp_path, "search", "own.yaml", "--out", "run", "--trials", "4")
    (tmp_path / "gated_mixer.py").write_text(code + "# changed\n")
    told = nas(tmp_path, "search", "own.yaml", "--out", "run", "--trials", "4", code=2)
    assert "was searched with other code of gated_mixer.py" in told

    (tmp_path / "gated_mixer.py").unlink()  # the run has its own copy
    settings = ("--recipe", "digits_quick", "--set", "epochs=2", "--set", "warmup_epochs=0.5")
    nas(tmp_path, "retrain", f"run:{trial}", *settings, "--out", "longer")
    shutil.rmtree(tmp_path / "run")  # and the retraining has one
    assert "Level C" in nas(tmp_path, "export", "longer", "--out", "exported")
    done = subprocess.run([sys.executable, "-c", BARE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[0]) >= 1 and "(1, 10)" in done.stdout
