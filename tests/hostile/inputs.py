"""The corpus: what may be wrong with a file, a setting, a flag or a record, as a table of inputs."""

import io
import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.hostile.machine import SECRET

Damage = Callable[[Path], object]


class Input(NamedTuple):
    """A command, what is done to the world before it, and words that its message must have."""

    name: str
    arguments: tuple[str, ...]
    damage: Damage = lambda _: None
    says: tuple[str, ...] = ()
    must_refuse: bool = True
    is_slow: bool = False
    """Takes seconds: a network that is exported or drawn, a picture, Ray."""


def _float_tiff() -> bytes:
    return _encoded(Image.fromarray(np.full((20, 20), 0.5, np.float32)), "TIFF")


def _small_png(side: int) -> bytes:
    return _encoded(Image.new("RGB", (side, side)), "PNG")


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


# Every file, damaged in every way

DEEP = "[" * 10_000 + "]" * 10_000
WAYS: dict[str, Callable[[Path], object]] = {
    "cut": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "empty": lambda p: p.write_bytes(b""),
    "a list": lambda p: p.write_text("[1, 2]"),
    "a word": lambda p: p.write_text("hello"),
    "an empty object": lambda p: p.write_text("{}"),
    "deep": lambda p: p.write_text(DEEP),
    "deep object": lambda p: p.write_text('{"a":' * 10_000 + "1" + "}" * 10_000),
    "zeros": lambda p: p.write_bytes(bytes(5000)),
    "not UTF-8": lambda p: p.write_bytes(b"\xff\xfe\x00abc\x80"),
    "a pipe": lambda p: (p.unlink(), os.mkfifo(p)),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
    "a device": lambda p: (p.unlink(), p.symlink_to("/dev/zero")),
    "a link to itself": lambda p: (p.unlink(), p.symlink_to(p.name)),
    "gone": lambda p: p.unlink(),
}
READERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "space.yaml": (("space", "space.yaml"), ("search", "space.yaml", "--out", "new")),
    "recipe.yaml": (("retrain", "net.json", "--recipe", "recipe.yaml", "--out", "new"),),
    "net.json": (("cost", "net.json"), ("latency", "net.json"), ("retrain", "net.json", "--recipe", "recipe.yaml", "--out",
    "new")),
    "cat.png": (("gradcam", "exported", "cat.png", "--out", "maps"),),
    "run/search.yaml": (
        ("front", "run"), ("report", "run"), ("cost", "run:1"), ("replicate", "run"), ("search", "space.yaml", "--out", "run"),
        ("retrain", "run", "--knee", "--recipe", "recipe.yaml", "--out", "new"), ("latency", "run"), ("calibrate",
            "space.yaml", "--out", "run", "--show"),
        ("compare", "run", "run"), ("export", "run", "--trial", "1", "--out", "new"),
    ),
    "run/study.db": (
        ("front", "run"), ("cost", "run:1"), ("replicate", "run"), ("search", "space.yaml", "--out", "run"), ("export", "run",
            "--trial", "1", "--out", "new"),
        ("latency", "run"),
    ),
    "run/manifest.json": (("search", "space.yaml", "--out", "run"), ("replicate", "run"), ("export", "run", "--trial", "BEST",
    "--out", "new")),
    "run/weights/BEST.safetensors": (("export", "run", "--trial", "BEST", "--out", "new"), ("gradcam", "run:BEST", "cat.png",
    "--out", "maps")),
    "trained/result.json": (("export", "trained", "--out", "new"), ("gradcam", "trained", "cat.png", "--out", "maps")),
    "trained/recipe.yaml": (("export", "trained", "--out", "new"), ("gradcam", "trained", "cat.png", "--out", "maps")),
    "trained/manifest.json": (("export", "trained", "--out", "new"), ("gradcam", "trained", "cat.png", "--out", "maps")),
    "trained/architecture.json": (("export", "trained", "--out", "new"), ("gradcam", "trained", "cat.png", "--out", "maps")),
    "trained/origin.json": (("export", "trained", "--out", "new"),),
    "trained/model.safetensors": (("export", "trained", "--out", "new"), ("gradcam", "trained", "cat.png", "--out", "maps")),
    "exported/config.json": (("gradcam", "exported", "cat.png", "--out", "maps"),),
    "exported/model.safetensors": (("gradcam", "exported", "cat.png", "--out", "maps"),),
}  # fmt: skip


def damaged_files() -> list[Input]:
    """Every file of the world in every state, before every verb that reads it."""
    return [
        Input(f"{file} {way}: {' '.join(arguments)}", arguments, _damaging(file, way), must_refuse=False)
        for file, readers in READERS.items()
        for way in WAYS
        for arguments in readers
    ]


def _damaging(file: str, way: str) -> Damage:
    return lambda root: WAYS[way](root / file.replace("BEST", best(root)))


def best(root: Path) -> str:
    """The trial whose weights are kept."""
    return next((root / "run" / "weights").glob("*.safetensors")).stem


# The record: facts that no search wrote

FACTS = (
    "architecture",
    "curve",
    "attempts",
    "accuracy",
    "seconds",
    "state",
    "key",
    "macs",
    "params",
    "versions",
    "manifest",
    "seed",
    "cause",
)
VALUES = ('"text"', "[]", "{}", "[1]", "null", "true", "-1", "1e400", "NaN", "3", '{"a": 1}', "", "{", DEEP)
OF_A_RUN = (
    ("front", "run"), ("report", "run"), ("cost", "run:1"), ("replicate", "run"), ("search", "space.yaml", "--out", "run"),
    ("retrain", "run", "--front", "--recipe", "recipe.yaml", "--out", "new"), ("export", "run", "--trial", "1", "--out", "new"),
)  # fmt: skip


def foreign_facts() -> list[Input]:
    """Each fact of every trial replaced by each value."""
    return [
        Input(f"fact {fact}={value[:12]!r}: {' '.join(verb)}", verb, _fact(fact, value), must_refuse=False)
        for fact, value, verb in itertools.product(FACTS, VALUES, OF_A_RUN)
    ]


def _fact(name: str, value: str) -> Damage:
    query = "UPDATE trial_user_attributes SET value_json = ? WHERE key = ?"
    return lambda root: _in_database(root, (query, (value, name)))


def _in_database(root: Path, *statements: tuple[str, tuple]) -> None:
    connection = sqlite3.connect(root / "run" / "study.db")
    for text, values in statements:
        connection.execute(text, values)
    connection.commit()
    connection.close()


def _set(fact: str, value: str, *, trial: int | None = None) -> tuple[str, tuple]:
    where = "" if trial is None else f" AND trial_id = {trial}"
    return f"UPDATE trial_user_attributes SET value_json = ? WHERE key = ?{where}", (value, fact)


def _replaced(fact: str, old: str, new: str) -> tuple[str, tuple]:
    return "UPDATE trial_user_attributes SET value_json = replace(value_json, ?, ?) WHERE key = ?", (old, new, fact)


def _added(fact: str, value: str) -> tuple[str, tuple]:
    return "INSERT INTO trial_user_attributes VALUES (999, 2, ?, ?)", (fact, value)


def _without(fact: str) -> tuple[str, tuple]:
    return "DELETE FROM trial_user_attributes WHERE key = ?", (fact,)


def _noted(name: str, value: str) -> tuple[str, tuple]:
    return "INSERT INTO study_user_attributes VALUES (99, 1, ?, ?)", (name, value)


def _settings(value: str) -> tuple[str, tuple]:
    return "UPDATE study_user_attributes SET value_json = ? WHERE key = 'search'", (value,)


def _plain(statement: str) -> tuple[str, tuple]:
    return statement, ()


EPOCH = '[{"epoch": 1, "accuracy": 0.5, "right": RIGHT, "train_loss": 1, "loss": null, "lr": 1, "seconds": 1, "steps": 1}]'
REPLICATE = '{"seed": "x", "accuracy": "y", "seconds": [], "right": 3, "manifest": 1}'
TIME = '{"measured": 1, "conditions": [], "machine": 3, "latency_ms": "x", "anchor": {}}'
HALF_A_TIME = '{"measured": "now", "latency_ms": 3}'
DATABASES: dict[str, tuple[str, tuple]] = {
    "no table of trials": _plain("DROP TABLE trials"),
    "no table of facts": _plain("DROP TABLE trial_user_attributes"),
    "no table of the study's facts": _plain("DROP TABLE study_user_attributes"),
    "no table of studies": _plain("DROP TABLE studies"),
    "no table of the version": _plain("DROP TABLE version_info"),
    "an older schema": _plain("UPDATE version_info SET schema_version = 1"),
    "a study of another name": _plain("UPDATE studies SET study_name = 'other'"),
    "other settings": _settings("{}"),
    "settings that are a list": _settings("[]"),
    "settings that are text": _settings('"x"'),
    "settings that are deep": _settings(DEEP),
    "no facts at all": _plain("DELETE FROM trial_user_attributes"),
    "a column of another name": _plain("ALTER TABLE trials RENAME COLUMN number TO no"),
    "a number that is text": _plain("UPDATE trials SET number = 'x' WHERE number = 1"),
    "numbers that stand twice": _plain("UPDATE trials SET number = 0"),
    "a date that is none": _plain("UPDATE trials SET datetime_start = 'soon'"),
    "a state that is none": _plain("UPDATE trials SET state = 'DONE'"),
    "values that are gone": _plain("DELETE FROM trial_values"),
    "no accuracy where complete": _without("accuracy"),
    "no costs": _without("macs"),
    "no architecture": _without("architecture"),
    "no state": _without("state"),
    "a blob for a fact": _plain("UPDATE trial_user_attributes SET value_json = x'ff00' WHERE key IN ('cause', 'key')"),
    "a replicate that is none": _noted("replicate 1 seed 5", "{}"),
    "a replicate that is a list": _noted("replicate 1 seed 5", "[]"),
    "a replicate of text": _noted("replicate 1 seed 5", REPLICATE),
    "a replicate of no trial": _noted(f"replicate {'9' * 23} seed 5", '{"seed": 1, "accuracy": 0.5, "seconds": 1}'),
    "a latency that is none": _noted("latency 1 abc", "{}"),
    "a latency of text": _noted("latency 1 abc", TIME),
    "a latency of no conditions": _noted("latency 1 abc", HALF_A_TIME),
    "answered by nobody": _set("state", '"answered"', trial=2),
    "answered from a trial that is not there": _added("answered_from", "77"),
    "a baseline that is no design": _added("baseline", '"nobody"'),
    "an epoch that is text": _set("curve", '[{"epoch": "x"}]'),
    "right that is no text": _set("curve", EPOCH.replace("RIGHT", "5")),
    "right of another length": _set("curve", EPOCH.replace("RIGHT", '"zzz!"')),
    "a mixer that nobody has": _replaced("architecture", "pool", "pol"),
    "an architecture with huge numbers": _replaced("architecture", '"width": 8', '"width": 1000000000000'),
    "accuracy above one": _set("accuracy", "7.5"),
    "costs below zero": _set("macs", "-5"),
    "costs beyond 64 bits": _set("params", "99999999999999999999999"),
    "a cause that is a formula": _added("cause", '"=cmd|x"'),
}


def foreign_databases() -> list[Input]:
    """A record whose tables are another program's, or damaged, before every verb that reads it."""
    measured = ("latency", "run", "--repeats", "2", "--batch", "1", "--image-size", "32", "--warm-up", "0")
    verbs = (*OF_A_RUN, ("front", "run", "--x", "latency_ms"), measured)
    return [
        Input(f"{name}: {' '.join(verb)}", verb, _changing(statement), must_refuse=False)
        for name, statement in DATABASES.items()
        for verb in verbs
    ]


def _changing(statement: tuple[str, tuple]) -> Damage:
    return lambda root: _in_database(root, statement)


# Settings, flags, addresses and files of every other kind

SPACE, NEW = ("space", "space.yaml"), ("--out", "new")
SEARCH = ("search", "space.yaml", *NEW)
RETRAIN = ("retrain", "net.json", "--recipe", "recipe.yaml", *NEW)
LATENCY = ("latency", "net.json", "--image-size", "32", "--batch", "1", "--repeats", "2", "--warm-up", "0")


def settings() -> list[Input]:
    """Values of single settings that pass for others, break a rule together, or would take for ever."""
    space = {
        "search.trials": ("yes", "true", "1_0", "'²'", "1e3", "[1]", "null"),
        "search.seed": ("-1", "4294967296", "1.5", "'0'"),
        "search.max_hours": ("yes", "true", ".inf", "0"),
        "search.max_gpu_hours": ("1",),
        "search.cache": ("yes", "1", "[true]", "/results"),
        "search.learn_from": ("[1]", "{a: 1}", "['']", "[[runs/old]]"),
        "search.stop": ("true", "5", "{gain: 0}", "{gain: 2}", "{gain: 0.5 %%}", "{gain: .nan}", "{within: 0}",
        "{within: 1.5}"),
        "prior": ("high", "[a]", "{stage1.mixer: high}", "{stage1.mixer: {conv: 4}}", "{stage1.mixer: {conv: [high]}}",
        "{stage9.mixer: {conv: high}}", "{stage1.mixer: {nothing: low}}", "{1: {2: {3: {4: high}}}}"),
        "search.sampler": ("frnt", "1", "[front]", "postgresql://u:" + SECRET + "@h"),
        "search.log": ("wandb", "[mlflow, x]", "{a: 1}"),
        "search.start": ("caformer", "[nothing]", "7"),
        "search.storage": ("[a]", "{a: 1}", "7", "['postgresql://u:" + SECRET + "@h']",
        "{url: 'postgresql://u:" + SECRET + "@h'}"),
        "name": ("../x", "''", "a/b", "'a b'", "-x", "'\\0'", "null", "3", "postgresql://u:" + SECRET + "@h"),
        "objectives": ("[accuracy, accuracy]", "[macs]", "accuracy", "[accuracy]", "[accuracy, macs, params, frozen_params]",
        "[accuracy, mac]"),
        "baselines": ("[caformer_s19]", "caformer@x", "{families: [caformer]}", "{families: x, at: 1G}",
        "[caformer@1000000G]", "[poolformer_s12, poolformer_s12]", "3"),
        "constraints.macs": ("{min: 2G, max: 1G}", "2.0GG", "-1", "1e400", "[1]", "'²'", "9" * 400, "1"),
        "constraints.macs.max": ("0x", "1001P", ".nan"),
        "resources.address": ("''", "' '", "[a]", "3"),
        "resources.cpu": ("true", "0", ".inf", "1e308", "'1_0'"),
        "resources.gpu": ("1.5", "-1", "1_0", "yes"),
        "resources.workers": ("0", "1.0", "999999999999999999"),
        "calibration.seeds": ("0", "999999999999999999"),
        "calibration.random": ("-1", "999999999999999999"),
        "calibration.fidelities": ("[a]", "{'a b': {}}", "{1: 2}"),
        "proxy": ("[]", "x", "3", "{epoks: 3}"),
        "proxy.epochs": ("0", "999999999999999999", "2.0", "true"),
        "proxy.lr": ("true", "'1_0'", ".inf", ".nan", "0", "-1", "1e400", "yes"),
        "proxy.image_size": ("3", "[32]", "[32, 16]", "[8, 16, 32]", "999999999999999999", "32.0", "[]"),
        "proxy.warmup_epochs": ("2", "-1", ".nan"),
        "proxy.crop_scale": ("[0, 1]", "[1, 0.5]", "[0.5]", "0.5", "[a, b]"),
        "proxy.classes": ("1", "[a]", "[a, a]", "nowhere.txt", "[1.5, 2]", "[yes, true]", "{a: 1}"),
        "proxy.rungs": ("[2]", "[1, 1]", "[0]", "1", "[true]"),
        "proxy.keep_copies": ("yes", "1", "'true'", "0.0"),
        "proxy.max_pixels": ("0", "1e308", "2.0GG"),
        "proxy.distillation": ("{}", "x", "{teacher: ''}", "{teacher: x, logits: 0}", "{teacher: x, labels: true}"),
        "proxy.mixer_lr": ("{pol: 1}", "{pool: 0}", "[pool]", "{pool: true}"),
        "space.image_size": ("7", "999999999999999999", "32.0", "[32]"),
        "space.num_classes": ("1", "true"),
        "space.stem_kernel": ("0", "1", "[3, 1]", "999999999999999999"),
        "space.stem_stride": ("64", "[2, 64]", "0"),
        "space.head": ("liner", "[linear, mpl]"),
        "space.all_stages.depth": ("0", "1000000000", "{low: 1, high: 1000000000}", "{low: 3, high: 1}", "{low: 1}",
        "{low: 1, high: 4, step: 2}", "[]", "[1, 1]", "1.0"),
        "space.all_stages.width": ("0", "1000000000000", "7.5", "yes", "{low: 1.0, high: 2}"),
        "space.all_stages.mixer": ("pol", "[pool, pol]", "[]", "1", "no"),
        "space.all_stages.mlp_ratio": ("[2, 0.01]", "-1", ".inf", "1e30", "true", "'2'"),
        "space.all_stages.layer_scale": (".inf", "0", ".nan", "true", "'1_0'"),
        "space.all_stages.res_scale": ("yes", "1"),
        "space.all_stages.norm_bias": ("yes", "0"),
        "space.stages.2": ("{mixer: conv, width: 16, expansion: 0.01}", "{mixer: conv, width: 16, kernel_size: 4}",
        "{mixer: attention, width: 24, head_dim: 16}", "[]", "3"),
        "space.stages": ("[]", "{4: {mixer: pool, width: 8}}", "{01: {}}", "{true: {}}", "{1.0: {}}", "{'²': {}}", "{a: {}}",
        "{-1: {}}", "{1: {}, '1': {}}"),
        "space": ("[]", "x",
        "{stages: {1: {mixer: attention, width: {low: 8, high: 9992, step: 8}, head_dim: {low: 1, high: 999}}}}"),
        "serach.trials": ("3",),
        "": ("3",),
        "a..b": ("3",),
        "search.trials.x": ("3",),
    }  # fmt: skip
    recipe = {
        "optimizer": ("adamm", "fusedadam", "adahessian", "lbfgs", "bnbadam", "''", "3"),
        "retry_lr": ("0.3", "yes"),
        "epochs": ("0", "true", "1e9"),
        "batch_size": ("1", "true", "1.5"),
        "drop_path": ("{}", "{s99: 0.1}", "{s18: 2}", "true", "1"),
        "loader": ("{workers: -1}", "{workers: 999999999}", "{auto_augment: nothing-x}", "yes", "{interpolation: x}",
        "{test_crop: {}}", "{test_crop: 2}"),
        "weights": ("nowhere.safetensors", "cat.png", "images", "''", "recipe.yaml"),
        "distillation": ("{teacher: nowhere}", "{teacher: net.json}", "{teacher: trained, weights: x}", "{teacher: images}",
        "{teacher: timm/nothing}"),
        "data": ("nowhere", "cat.png", "''", "torch/nothing", "hfds/a/b/c", "recipe.yaml"),
        "classes": ("11", "[nobody, noone]"),
        "keep": ("best", "lst"),
        "cooldown_epochs": ("9", "-1"),
        "image_size": ("2", "[32, 64, 96]"),
        "schedule": ("cosine",),
        "stem_stride": ("0", "99"),
    }  # fmt: skip
    return [
        *(Input(f"space {k}={v[:50]}", (*SPACE, "--set", f"{k}={v}")) for k, several in space.items() for v in several),
        *(Input(f"retrain {k}={v[:50]}", (*RETRAIN, "--set", f"{k}={v}")) for k, several in recipe.items() for v in several),
    ]


def storages() -> list[Input]:
    """URLs that are none, with a password in every place where one may stand."""
    urls = (
        "", " ", "x", "nothing://h/d", "postgres://u:{}@h/d", "postgresql:/u:{}@h", "u:{}@h/db", "//u:{}@h",
        "postgresql://h/d?pwd={}", "mysql://u:{}@h/d",
        "postgresql+nothing://u:{}@h/d", "mssql://h;PWD={}", "postgresql://u:{}@h:port/d", "postgresql://u:{}@h:99999999/d",
        "sqlite://", "sqlite:///", "sqlite:///nowhere/a.db",
        "sqlite:///space.yaml", "sqlite:///images", "sqlite:///cat.png", "journal:///nowhere/a.journal",
        "journal:///PLACE/space.yaml", "journal:///PLACE/images", "journal:///PLACE/cat.png",
        "journal:///PLACE/net.json", "journal://x", "redis://:{}@h", "postgresql+psycopg2://u:{}@127.0.0.1:1/d",
        "mysql+pymysql://u:{}@127.0.0.1:1/d?api_key={}", "http://u:{}@h", "sqlite:///:memory:",
    )  # fmt: skip
    texts = [url.replace("{}", SECRET) for url in urls]
    return [Input(f"storage {url}", (*SEARCH, "--storage", url)) for url in texts]


def flags() -> list[Input]:
    """Flags and arguments that can't be meant."""
    commands = (Path(__file__).parent / "commands.txt").read_text(encoding="utf-8").splitlines()
    harmless = {
        "report run --against run",
        "retrain net.json --recipe recipe.yaml --out trained",
        "latency timm:vit_tiny_patch16_224 --image-size 33 --batch 1 --repeats 2 --warm-up 0",
        "latency timm:swin_tiny_patch4_window7_224 --image-size 50 --batch 1 --repeats 2 --warm-up 0",
        "latency timm:resnet18 --image-size 1 --batch 1 --repeats 2 --warm-up 0",
        "latency timm:levit_128s --image-size 64 --batch 1 --repeats 2 --warm-up 0",
    }
    huge = ("front", "run", "--max-macs", "9" * 400)
    return [
        Input("a limit of 400 digits", huge),
        *(
            Input(text, tuple(_words(text)), must_refuse=text not in harmless, is_slow="timm:" in text or "report" in text)
            for text in dict.fromkeys(commands)
        ),
    ]


def _words(text: str) -> list[str]:
    return ["" if word == "''" else word.strip("'") for word in text.split()]


def images() -> list[Input]:
    """Files with the ending of an image that are another kind, or a kind that holds commands or odd pixels."""
    return [
        Input(f"a photo that is {name}", ("gradcam", "exported", "cat.png", "--out", "maps"), _content(content))
        for name, content in PHOTOS.items()
    ] + [
        Input(f"a data set of {name}", (*SEARCH, "--data", "images", "--set", "proxy.classes=null"), _all_images(content))
        for name, content in PHOTOS.items()
    ]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/owned) (w) file closefile showpage\n"
PHOTOS = {
    "PostScript": POSTSCRIPT,
    "text": b"hello",
    "empty": b"",
    "a cut PNG": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "a float TIFF": _float_tiff(),
    "a pixel": _small_png(1),
    "a pickle": b"\x80\x04K\x01.",
}


def _content(content: bytes) -> Damage:
    return lambda root: (root / "cat.png").write_bytes(content)


def _all_images(content: bytes) -> Damage:
    return lambda root: [path.write_bytes(content) for path in (root / "images").rglob("*.png")]


def exports() -> list[Input]:
    """An export's config.json with single facts that are wrong, and weights that are not its own."""
    changes: dict[str, object] = {
        "num_classes": "ten", "label_names": ["a"], "label_names.0": 3, "pretrained_cfg": [], "pretrained_cfg.mean": [0.5],
        "pretrained_cfg.std": [0, 0, 0],
        "pretrained_cfg.std.0": "x", "pretrained_cfg.input_size": [3], "pretrained_cfg.input_size.1": -1, "metaformer": [],
        "metaformer.architecture": {},
        "metaformer.architecture.stages": [], "metaformer.architecture.stages.0.width": 16,
        "metaformer.architecture.stages.0.depth": 10**9,
        "metaformer.architecture.stages.0.mixer": "pol", "metaformer.cost": 3, "metaformer.cost.macs": 1,
        "metaformer.cost.params": "many",
    }  # fmt: skip
    command = ("gradcam", "exported", "cat.png", "--out", "maps")
    listed = [
        Input(f"an export with {path}={value!r:.30}", command, _in_json("exported/config.json", path, value))
        for path, value in changes.items()
    ]
    result: dict[str, object] = {"accuracy": "x", "setup": [], "epochs": None, "versions": [], "seconds": {}, "accuracy2": 1}
    origins: dict[str, object] = {"run": {"a": [1]}, "trial": "<script>alert(1)</script>", "seed": "](http://x) ```"}
    return [
        *listed,
        *(Input(f"a result with {path}={value!r:.30}", ("export", "trained", *NEW), _in_json("trained/result.json", path,
            value)) for path, value in result.items()),
        *(Input(f"an origin with {p}={v!r:.30}", ("export", "trained", *NEW), _in_json("trained/origin.json", p, v),
            must_refuse=False, is_slow=True) for p, v in origins.items()),
        Input("an export with another's weights", command,
            lambda root: shutil.copy(next((root / "run" / "weights").iterdir()), root / "exported" / "model.safetensors")),
        Input("an export whose weights are no numbers", command, partial(_scaled, by=float("nan"))),
        Input("an export whose weights are others", command, partial(_scaled, by=1.01)),
    ]  # fmt: skip


def _in_json(file: str, path: str, value: object) -> Damage:
    def change(root: Path) -> None:
        data = json.loads((root / file).read_text())
        *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
        place = data
        for part in above:
            place = place[part]
        place[last] = value
        (root / file).write_text(json.dumps(data))

    return change


def _scaled(root: Path, *, by: float) -> None:
    path = root / "exported" / "model.safetensors"
    save_file({name: tensor * by for name, tensor in load_file(path).items()}, path)


def calibrations() -> list[Input]:
    """A calibration's files in a run, damaged or another program's."""
    columns = "fidelity,name,seed,accuracy,seconds,cause,machine,device,setup,manifest,outcome,architecture,recipe\n"
    tables = {
        "other columns": "a,b\n1,2\n", "a huge field": f"{columns}{'x' * 200_000},b\n", "a short row": f"{columns}a,b\n",
        "numbers that are none": f"{columns}a,b,0,x,y,,,cpu,s,m,{{}},{{}},{{}}\n",
        "JSON that is none": f"{columns}a,b,0,0.5,1,,,cpu,s,m,{{,{{,{{\n",
        "deep JSON": f"{columns}a,b,0,0.5,1,,,cpu,s,m,{DEEP},{DEEP},{DEEP}\n", "a null": f"{columns}a\0b,b,0,0.5,1,,,,,,,,\n",
        "not finite": f"{columns}a,b,0,nan,inf,,,cpu,s,m,x,x,x\n",
    }  # fmt: skip
    verb = ("calibrate", "space.yaml", "--out", "run", "--show")
    summaries = (
        "[]",
        "3",
        DEEP,
        '{"recipes": []}',
        '{"recipes": {"proxy": 3}, "manifests": 1}',
        "{",
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '{"recipes": {"proxy": {}}, "manifests": {}}',
    )
    truths = {
        "no columns": "1\n2\n",
        "text": "name,accuracy\ncaformer_s18,high\n",
        "empty": "",
        "a huge field": "name,accuracy\n" + "x" * 200_000 + ",0.5\n",
        "twice": "name,accuracy\na,0.5\na,0.5\n",
    }
    truth = ("calibrate", "space.yaml", *NEW, "--set", "calibration.against=truth.csv")
    return [
        *(Input(f"trainings.csv with {name}", verb, _text_in("run/calibration/trainings.csv", text)) for name,
            text in tables.items()),
        *(Input(f"calibration.json {text[:20]} {len(text)}", ("front", "run"), _text_in("run/calibration/calibration.json",
            text), must_refuse=False) for text in summaries),
        *(Input(f"a truth with {name}", truth, _text_in("truth.csv", text)) for name, text in truths.items()),
    ]  # fmt: skip


def _text_in(file: str, text: str) -> Damage:
    return lambda root: (root / file).write_text(text)


def _multiplied(first: str, twice: str) -> str:
    """YAML of thirty lines that is a thousand million values if its aliases are written out."""
    names = ["a", *(f"b{i}" for i in range(30))]
    lines = [f"{name}: &{name} {twice.format(f'*{before}')}" for before, name in itertools.pairwise(names)]
    return "\n".join([f"a: &a {first}", *lines])


def own_files() -> list[Input]:
    """Files of the user's own where a verb would write, and YAML that multiplies, hides or names what is not there."""
    yamls = {
        "empty": "", "a list": "[1]",
        "aliases that multiply": _multiplied("[x, x]", "[{0}, {0}]"),
        "a mapping of aliases": _multiplied("{x: 1}", "{{l: {0}, r: {0}}}"),
        "itself": "a: &a {b: *a}", "extends nothing": "extends: ''", "extends itself": "extends: space.yaml",
        "extends a folder": "extends: images", "extends a number": "extends: 3",
        "extends nobody": "extends: hybird", "extends a photo": "extends: cat.png",
        "a tag": "name: !!python/object/apply:os.system [id]", "a set": "name: !!set {a}",
        "an empty integer": "search: {trials: !!int ''}",
        "twice": "name: a\nname: b", "tabs": "name:\n\ta: 1", "two documents": "name: a\n---\nname: b",
        "a key of a list": "? [a]\n: 1", "a BOM": "\ufeffname: x", "Windows": "name: x\r\n", "deep": "a: " + DEEP,
        "a secret": f"extends: tiny\nsearch: {{storage: 'postgresql:/u:{SECRET}@h'}}\nname: 'a b'",
        "a null byte": "name: \0", "huge": "a: " + "x" * 10**6,
    }  # fmt: skip
    space = ("space", "space.yaml")
    return [
        *(Input(f"a space that is {name}", space, _text_in("space.yaml", text)) for name, text in yamls.items()),
        Input("a search.yaml of one's own", ("search", "mine/search.yaml", "--out", "mine"),
            lambda r: shutil.copy(r / "space.yaml", r / "mine" / "search.yaml")),
        Input("a search.yaml that was cut", ("front", "run"), _cut_lines("run/search.yaml", 0.6), ("is damaged",)),
        Input("a search.yaml that was cut in a line", ("front", "run"), _cut_lines("run/search.yaml", 0.8, less=3),
            ("is damaged",)),
        Input("an architecture of one's own", ("retrain", "mine/architecture.json", "--recipe", "mine/recipe.yaml", "--out",
            "mine"), lambda r: shutil.copy(r / "net.json", r / "mine" / "architecture.json")),
        Input("a table of one's own", ("report", "run", "--out", "mine"), _text_in("mine/front.csv", "a,b\n")),
        Input("a photo in the place of a map", ("gradcam", "exported", "photos/cat.jpg", "--out", "photos"), _photos),
        Input("an empty record beside weights", ("search", "space.yaml", "--out", "run"),
            lambda r: (r / "run" / "study.db").write_bytes(b"")),
        Input("no record beside weights", ("search", "space.yaml", "--out", "run"),
            lambda r: (r / "run" / "study.db").unlink()),
        Input("a checkpoint that is none", ("retrain", "net.json", "--recipe", "recipe.yaml", "--out", "trained"),
            lambda r: ((r / "trained" / "result.json").unlink(), (r / "trained" / "checkpoint.pt").write_bytes(b"x"))),
    ]  # fmt: skip


def _cut_lines(file: str, share: float, *, less: int = 0) -> Damage:
    def cut(root: Path) -> None:
        lines = (root / file).read_text().splitlines(keepends=True)
        text = "".join(lines[: int(share * len(lines))])
        (root / file).write_text(text[: len(text) - less])

    return cut


def _photos(root: Path) -> None:
    (root / "photos").mkdir()
    Image.open(root / "cat.png").save(root / "photos" / "cat.jpg")
    shutil.copy(root / "cat.png", root / "photos" / "cat.png")
