"""A teacher for distillation and imitation: CAFormer of 20 M MACs, trained as the reference is, on the same images.

    python experiments/calibration/reference/teacher.py --data DIR --out runs/teacher

Writes architecture.json, weights.safetensors and outcome.json, which `distillation: {teacher: …, weights: …}` reads. A training
that was killed goes on.
"""

import argparse
import json
from pathlib import Path

from nas.calibration.plan import fidelities_of
from nas.data.draw import make_manifest
from nas.data.manifest import prepare_images
from nas.data.registry import data_root
from nas.run.settings.search import read_search
from nas.training.proxy import train_proxy
from nas.units import duration, percent

YAML = Path(__file__).with_name("metaformer64.yaml")
DESIGN = "caformer@20M"
SEED = 100  # none of the reference's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    search = read_search(YAML, settings=[f"proxy.data={asked.data}", "constraints.macs={min: 3M, max: 24M}"])
    recipe, architecture = fidelities_of(search, where=str(YAML))["reference"], search.design(DESIGN)
    manifest, root = make_manifest(recipe, seed=search.split_seed), data_root(recipe.data)
    prepare_images(manifest, image_size=recipe.full_size, root=root)
    (asked.out / "architecture.json").write_text(json.dumps(architecture.to_dict(), indent=1) + "\n", encoding="utf-8")
    outcome = train_proxy(
        architecture,
        recipe,
        manifest,
        seed=SEED,
        device=asked.device,
        root=root,
        weights=asked.out / "weights.safetensors",
        checkpoint=asked.out / "checkpoint.pt",
        on_epoch=lambda epoch: print(f"epoch {epoch.epoch}: {percent(epoch.accuracy)}", flush=True),
    )
    (asked.out / "outcome.json").write_text(outcome.model_dump_json(exclude_none=True) + "\n", encoding="utf-8")
    print(f"{DESIGN}: {percent(outcome.accuracy)} in {duration(outcome.seconds)}")


if __name__ == "__main__":
    main()
