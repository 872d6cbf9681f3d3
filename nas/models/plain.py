"""A network of torch's own operators only, as other programs that read networks expect them."""

import copy

from timm.models import metaformer as timm_metaformer
from torch import nn

from nas.models.mixers import Pooling


def with_plain_pooling(model: nn.Module) -> nn.Module:
    """A copy that pools by torch's own operator, which other runtimes know; ours on a CPU is made of several."""
    model = copy.deepcopy(model)
    for block in [module for module in model.modules() if isinstance(getattr(module, "token_mixer", None), Pooling)]:
        block.token_mixer = timm_metaformer.Pooling(block.token_mixer.size)
    return model
