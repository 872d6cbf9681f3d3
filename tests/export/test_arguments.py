"""What timm's own MetaFormers take in `create_model` and as calls, exports take at every level, and answer alike."""

import copy
import warnings

import pytest
import timm
import torch
from timm.models._features_fx import get_notrace_modules
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from nas.export.directory import Description, drafted, write_export
from nas.export.fresh import load_stub
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.reference import from_timm

torch.set_num_threads(1)
SIZE, CLASSES = 64, 5
WIDTHS = (64, 128, 320, 512)  # of timm's smallest, so that shapes can be compared
ABOUT = Description(class_names=None, mean=(0.5,) * 3, std=(0.2,) * 3, provenance={})


def stages(*mixers, **options):
    return [Stage(mixer=m, depth=1, width=w, mlp_ratio=1.0, **options) for m, w in zip(mixers, WIDTHS, strict=True)]


LEVELS = {
    "A": from_timm("poolformerv2_s12"),
    "B": Architecture(stages=stages("pool", "conv", "attention", "attention", norm="group"), head="linear"),
    "B, norm first": Architecture(stages=stages("pool", "attention", "conv", "attention", norm="batch"), head_norm="norm_pool"),
    "B, MLP head": Architecture(stages=stages("conv", "conv", "pool", "attention"), head="mlp"),
    "B, further blocks": Architecture(
        stages=stages("pool", "linear_attention", "conv", "attention", mlp="conv", se_ratio=0.25), stem_steps=2
    ),
    "C, further blocks": Architecture(
        stages=stages("dwconv", "linear_attention", "attention", "pool", mlp="conv", se_ratio=0.25), stem_steps=2
    ),
    "C": Architecture(stages=stages("dwconv", "pool", "conv", "attention", activation="gelu")),
    "C, norm first": Architecture(stages=stages("affine", "identity", "dwconv", "pool", norm="batch"), head_norm="norm_pool"),
    "C, MLP head": Architecture(stages=stages("pool", "attention", "attention", "dwconv", norm="group"), head="mlp"),
    "C, positions": Architecture(
        stages=[
            *stages("random", "spatial_fc", "attention", "pool")[:3],
            Stage(mixer="conv", depth=1, width=512, mlp_ratio=1.0, position_embedding=True),
        ]
    ),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What `create_model` is given for each level."""
    names = {}
    for name, architecture in LEVELS.items():
        torch.manual_seed(0)
        state = build(architecture, image_size=SIZE, num_classes=CLASSES).state_dict()
        prepared = drafted(architecture, state, ABOUT, image_size=SIZE, num_classes=CLASSES)
        assert prepared.level.letter == name[0]
        directory = tmp_path_factory.mktemp("export")
        write_export(prepared, directory)
        if name[0] != "A":
            load_stub(directory, prepared.level.entrypoint)
        names[name] = f"local-dir:{directory}"
    return names


@pytest.fixture(scope="module")
def plain(sources):
    """The networks as they are without an argument."""
    return {level: timm.create_model(source, pretrained=True).eval() for level, source in sources.items()}


@pytest.fixture(scope="module")
def timms():
    """timm's own network, whose answers are the expected ones."""
    return timm.create_model("poolformerv2_s12", num_classes=CLASSES).eval()


def images(channels=3, **options):
    return torch.rand(2, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).to(**options)


def answer(net, pixels):
    """Shape, type and device of what a network makes of images, or the kind of error."""
    try:
        with torch.inference_mode():
            out = net.eval()(pixels)
    except (RuntimeError, AssertionError) as error:
        return type(error)
    return [(tuple(x.shape), x.dtype, x.device) for x in (out if isinstance(out, list) else [out])]


ARGUMENTS = [
    *({"in_chans": number} for number in (1, 2, 3, 4, 6)),
    *({"global_pool": name} for name in ("", "avg", "max", "avgmax", "fast", "fastavg", "fastmax", "fastavgmax")),
    *({"global_pool": name, "num_classes": 0} for name in ("", "max")),
    *({"num_classes": number} for number in (0, 1, 5, 9)),
    *({"dtype": dtype} for dtype in (torch.float32, torch.bfloat16, torch.float64)),
    *({"device": device} for device in ("cpu", torch.device("cpu"), "meta")),
    {"device": "meta", "dtype": torch.bfloat16, "in_chans": 4, "num_classes": 3},
    *({"drop_rate": 0.3, "drop_path_rate": rate, "proj_drop_rate": 0.2} for rate in (0.0, 0.2)),
    {"features_only": True},
    *({"features_only": True, "out_indices": indices} for indices in ((0,), (1, 3), [2], (-1,), (0, 1, 2, 3))),
    {"features_only": True, "in_chans": 1, "dtype": torch.bfloat16},
    *({"features_only": True, "feature_cls": name} for name in ("list", "hook", "fx", "getter")),
    {"pretrained_cfg_overlay": {"num_classes": CLASSES}},
    {"exportable": True},
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no-op")  # of weights that are loaded to the meta device
@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_an_argument_of_create_model_means_what_it_means_to_timm(arguments, level, pretrained, sources):
    pixels = images(arguments.get("in_chans", 3), device=arguments.get("device"), dtype=arguments.get("dtype"))
    theirs = timm.create_model("poolformerv2_s12", **{"num_classes": CLASSES, **arguments})
    ours = timm.create_model(sources[level], pretrained=pretrained, **arguments)
    assert answer(ours, pixels) == answer(theirs, pixels)
    assert {p.dtype for p in ours.parameters()} == {p.dtype for p in theirs.parameters()}
    assert {t.device for t in ours.state_dict().values()} == {t.device for t in theirs.state_dict().values()}


@pytest.mark.thorough
@pytest.mark.parametrize("level", [name for name in LEVELS if name != "A"])
def test_the_commonest_arguments_mean_what_they_mean_to_timm(level, sources):
    common = {"in_chans": 1, "global_pool": "", "num_classes": 0, "dtype": torch.bfloat16, "device": "cpu"}
    net = timm.create_model(sources[level], pretrained=True, **common)
    assert answer(net, images(1, dtype=torch.bfloat16)) == [((2, 512, 2, 2), torch.bfloat16, torch.device("cpu"))]


@pytest.mark.thorough
@pytest.mark.parametrize("level", LEVELS)
def test_pretrained_weights_stay_what_they_are_under_an_argument(level, sources, plain):
    """Logits of no or other classes, of grey images, and maps follow from the weights that were exported."""
    net = plain[level]
    wide = timm.create_model(sources[level], pretrained=True, in_chans=6).eval()
    unpooled = timm.create_model(sources[level], pretrained=True, num_classes=0, global_pool="").eval()
    maps = timm.create_model(sources[level], pretrained=True, features_only=True, out_indices=(1, 3)).eval()
    with torch.inference_mode():
        torch.testing.assert_close(wide(images().repeat(1, 2, 1, 1)), net(images()), rtol=1e-4, atol=1e-5)
        features = net.forward_features(images())
        torch.testing.assert_close(maps(images())[1], features)
        assert unpooled(images()).shape == features.shape
        torch.testing.assert_close(net.forward_head(features), net(images()))
        torch.testing.assert_close(net.get_classifier()(net.forward_head(features, pre_logits=True)), net(images()))
        assert net.forward_head(features, pre_logits=True).shape == (2, 512) and net.num_features == 512


@pytest.mark.thorough
@pytest.mark.parametrize("level", LEVELS)
def test_the_classifier_is_replaced_as_in_timm(level, plain, timms):
    for arguments in ((7,), (0,), (0, ""), (3, "max"), (4, "avg")):
        ours, theirs = copy.deepcopy(plain[level]), copy.deepcopy(timms)
        for net in (ours, theirs):
            net.reset_classifier(*arguments)
        assert answer(ours, images()) == answer(theirs, images()) and ours.num_classes == theirs.num_classes
        assert type(ours.get_classifier()) is type(theirs.get_classifier()) or "MLP" in level
    ours.to(torch.bfloat16).reset_classifier(2)
    assert ours(images(dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("level", LEVELS)
def test_checkpointed_gradients_are_the_same(level, plain):
    gradients = []
    for enable in (False, True):
        net = copy.deepcopy(plain[level]).train()
        for module in net.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.0  # its statistics would be updated twice, in timm's networks too
        net.set_grad_checkpointing(enable)
        net(images()).square().sum().backward()
        gradients.append([p.grad for p in net.parameters() if p.requires_grad])
    for plain_gradient, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain_gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("level", LEVELS)
def test_its_graph_can_be_traced_and_cut(level, plain):
    net = plain[level]
    whole = {"tracer_kwargs": {"leaf_modules": get_notrace_modules()}} if level == "B, further blocks" else {}
    with torch.no_grad():  # timm says of its linear attention that nobody can look into it
        nodes = get_graph_node_names(net, **whole)[1]
        cut = create_feature_extractor(net, return_nodes=["stages.0", "stages.2", nodes[-1]], **whole)
        maps = cut(images())
        assert [tuple(x.shape)[1:] for x in maps.values()] == [(64, 16, 16), (320, 4, 4), (CLASSES,)]
        torch.testing.assert_close(maps[nodes[-1]], net(images()))


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("compiled", [torch.jit.script, lambda net: torch.jit.trace(net, images())], ids=["script", "trace"])
def test_torchscript_takes_it_as_it_takes_timms(compiled, level, plain, tmp_path):
    net = plain[level]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is on its way out
        torch.jit.save(compiled(net), tmp_path / "net.pt")
        torch.testing.assert_close(torch.jit.load(tmp_path / "net.pt")(images()), net(images()), rtol=1e-4, atol=1e-5)


def test_drop_rates_are_those_of_timm(sources, timms):
    for level, source in sources.items():
        net = timm.create_model(source, pretrained=True, drop_path_rate=0.2, drop_rate=0.4, proj_drop_rate=0.1)
        paths = [m.drop_prob for m in net.modules() if type(m).__name__ == "DropPath"]
        assert paths == sorted(paths) and paths[-1] == pytest.approx(0.2), level
        assert {m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)} >= {0.1, 0.4}, level
        assert net.train()(images()).shape == (2, CLASSES)


def test_other_images_are_taken_where_no_weights_belong_to_positions(plain):
    for level, net in plain.items():
        wide = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
        if level == "C, positions":
            with pytest.raises(ValueError, match="weights for each position and fits 64x64 px only, but got 96x128 px"):
                net(wide)
        else:
            assert net(wide).shape == (1, CLASSES)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"img_size": 96}, "weights belong to the positions of 64 px images, but got img_size=96"),
        ({"img_size": (64, 96)}, "img_size must be the side of square images"),
        ({"img_size": 2}, "img_size must be at least the 7 px of the stem, but got img_size=2"),
        ({"global_pool": "catavgmax"}, "global_pool must be one of"),
        ({"global_pool": "mean"}, "global_pool must be one of"),
    ],
)
def test_what_cannot_be_is_one_clear_message(arguments, rule, sources):
    with pytest.raises(ValueError, match=rule):
        timm.create_model(sources["C, positions"], pretrained=True, **arguments)


def test_positions_are_trained_anew_at_another_image_size(sources):
    net = timm.create_model(sources["C, positions"], img_size=96)
    assert net(torch.rand(1, 3, 96, 96)).shape == (1, CLASSES)


def test_maps_of_positions_refuse_other_images_too(sources):
    maps = timm.create_model(sources["C, positions"], pretrained=True, features_only=True)
    with pytest.raises(ValueError, match="fits 64x64 px only"):
        maps(torch.rand(1, 3, 96, 96))


def test_an_unknown_argument_is_an_error_at_every_level(sources):
    for source in sources.values():
        with pytest.raises(TypeError, match="drop_pth_rate"):
            timm.create_model(source, drop_pth_rate=0.1)


def test_maps_are_asked_for_as_in_timm(plain, timms):
    for level, net in plain.items():
        for arguments in ({"indices": [3, 1]}, {"indices": 2, "stop_early": True}, {"indices": [-1]}, {"norm": True}):
            with torch.inference_mode():
                maps, expected = (n.forward_intermediates(images(), **arguments)[1] for n in (net, timms))
            assert [m.shape for m in maps] == [m.shape for m in expected], (level, arguments)
        with pytest.raises((ValueError, AssertionError), match=r"numbered from 0, but got|out of range"):
            net.forward_intermediates(images(), indices=[7])


def test_a_network_of_half_precision_is_trained_as_such(plain):
    for level, net in plain.items():
        half = copy.deepcopy(net).to(torch.bfloat16, memory_format=torch.channels_last).train()
        logits = half(images(dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last))
        logits.sum().backward()
        assert logits.dtype == torch.bfloat16, level
