"""The official networks: how to tell them by their tensors, what those tensors say of the shape, and what they call them.

The code that wrote them is github.com/Liu-Tianchi/Nes2Net (CtrSVDD) and Nes2Net_ASVspoof_ITW (main: ASVspoof 2019, 2021 and
In-the-Wild; asvspoof5), with the encoders of fairseq, unilm and s3prl.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vivavoce.errors import ConfigurationError, few

from ..networks.aasist import Aasist, AasistConfig
from ..networks.countermeasure import Countermeasure
from ..networks.front_ends import Wav2Vec2FrontEnd, wav2vec2_config
from ..networks.layer_merging import Merge, MergeConfig
from ..networks.nes2net import Nes2Net, Nes2NetConfig

__all__ = ["ASVSPOOF_5", "ASVSPOOF_2021", "CTRSVDD", "Family", "build", "defaults", "leftovers", "official_name", "recognise"]

State = Mapping[str, Tensor]
NES2NET = "Nested_Res2Net_TDNN."


@dataclass(frozen=True)
class Family:
    """An official training code: `prefix` is its encoder's, `window` the samples that it trains on."""

    name: str
    encoder: str
    prefix: str
    window: int
    dilation: int = 1
    normalize: bool = False


# Both ASVspoof codes train and test on 64,600 samples, CtrSVDD trains on 64,000; s3prl alone normalises the waveform.
ASVSPOOF_2021 = Family("asvspoof2021", "XLS-R", "ssl_model.model.", window=64_600, dilation=2)
ASVSPOOF_5 = Family("asvspoof5", "WavLM", "ssl_model.model.", window=64_600)
CTRSVDD = Family("ctrsvdd", "WavLM", "ssl_model.model.model.", window=64_000, normalize=True)


def recognise(state: State) -> Family:
    """The family of a state dict. Raises ConfigurationError, with what was found and what is known, for any other."""
    if _has(state, CTRSVDD.prefix):
        family = CTRSVDD
    elif any(key.endswith(".self_attn.grep_a") for key in state):
        family = ASVSPOOF_5
    else:
        family = ASVSPOOF_2021
    encoder = _has(state, f"{family.prefix}post_extract_proj.", f"{family.prefix}encoder.")
    if encoder and (_is_aasist(state) or _has(state, NES2NET)):
        return family
    found = few(state)
    lacking = "a back-end that is known" if encoder else "an encoder that is known"
    raise ConfigurationError(
        f"These tensors ({found}) lack {lacking}. Known are Nes2Net, Nes2Net-X and AASIST "
        f"on fairseq's XLS-R, and Nes2Net and Nes2Net-X on WavLM, in the official code's names."
    )


def defaults(state: State, family: Family) -> dict[str, Any]:
    """What the tensors do not tell, and what the family's code takes for it."""
    facts: dict[str, Any] = {"normalize": family.normalize}
    if family.encoder == "WavLM":
        facts["max_distance"] = 800
    else:
        # One for 64 channels up to the 1024 of XLS-R 300M; XLS-R 1B and 2B are wider, and have 16 too.
        facts["heads"] = min(16, _size(state, f"{family.prefix}post_extract_proj.weight") // 64)
    if not _is_aasist(state):
        facts |= {"dilation": family.dilation, "activation": "relu"}
    return facts


def build(state: State, family: Family, facts: Mapping[str, Any]) -> Countermeasure:
    """The network that the tensors describe, with random weights. `facts` are those of `defaults`, perhaps changed."""
    front_end = Wav2Vec2FrontEnd.from_config(_encoder_config(state, family.prefix, facts), normalize=facts["normalize"])
    back_end: Nes2Net | Aasist
    if _is_aasist(state):
        logits = _size(state, "out_layer.weight")
        back_end = Aasist(AasistConfig(width=front_end.width, logits=logits))
    else:
        back_end = Nes2Net(_nes2net_config(state, front_end.width, facts))
    merge = _merge_config(state, front_end) if family is CTRSVDD else None
    return Countermeasure(front_end, back_end, Merge(merge) if merge else None).eval()


def _has(state: State, *prefixes: str) -> bool:
    """Whether a part of the network is there: told by all of its tensors, so that one that is missing is told by its name."""
    return any(key.startswith(prefixes) for key in state)


def _is_aasist(state: State) -> bool:
    return _has(state, "LL.", "GAT_layer_")


def _size(state: State, name: str, dimension: int = 0) -> int:
    """One dimension of a tensor that every network of the family has."""
    if name not in state or state[name].dim() <= dimension or not state[name].shape[dimension]:
        raise ConfigurationError(f"The tensor {name} is missing, empty or of too few dimensions. Give the complete checkpoint.")
    return state[name].shape[dimension]


def _count(state: State, pattern: str) -> int:
    """One more than the largest number that the pattern's group takes among the names; 0 without any."""
    found = (re.match(pattern, key) for key in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _encoder_config(state: State, prefix: str, facts: Mapping[str, Any]) -> Any:
    width = _size(state, f"{prefix}post_extract_proj.weight")
    layer, position = f"{prefix}encoder.layers.0", f"{prefix}encoder.pos_conv.0.weight_v"
    relative = f"{layer}.self_attn.relative_attention_bias.weight"
    stem = [f"{prefix}feature_extractor.conv_layers.{i}.0" for i in range(7)]
    wavlm = "max_distance" in facts
    heads = _size(state, f"{layer}.self_attn.grep_a", 1) if wavlm else facts["heads"]
    if heads < 1 or width % heads:
        raise ConfigurationError(f"A width of {width} cannot have {heads} heads. Choose a divisor; XLS-R 300M has 16.")
    if wavlm and facts["max_distance"] <= _size(state, relative) // 4:
        raise ConfigurationError(
            f"A largest distance of {facts['max_distance']} frames is less than the exact positions that the bias stores. "
            f"Choose more than {_size(state, relative) // 4}; WavLM has 800."
        )
    return wav2vec2_config(
        conv_channels=tuple(_size(state, f"{conv}.weight") for conv in stem),
        conv_bias=any(f"{conv}.bias" in state for conv in stem),
        width=width,
        layers=_count(state, rf"{re.escape(prefix)}encoder\.layers\.(\d+)\."),
        heads=heads,
        ffn=_size(state, f"{layer}.fc1.weight"),
        position_kernel=_size(state, position, 2),
        position_groups=width // _size(state, position, 1),
        relative_positions=(_size(state, relative), facts["max_distance"]) if wavlm else None,
    )


def _nes2net_config(state: State, width: int, facts: Mapping[str, Any]) -> Nes2NetConfig:
    block = f"{NES2NET}Build_in_Res2Nets"
    outer = 1 + _count(state, rf"{block}\.(\d+)\.")
    return Nes2NetConfig(
        width=width,
        kind="nes2net-x" if _has(state, f"{block}.0.weighted_sum.") else "nes2net",
        activation=facts["activation"],
        pooling="astp" if _has(state, f"{NES2NET}pooling.") else "mean",
        nest=(outer, 1 + _count(state, rf"{block}\.0\.convs\.(\d+)\.")),
        dilation=facts["dilation"],
        se_ratio=width // outer // _size(state, f"{block}.0.se.se.1.weight"),
        logits=_size(state, f"{NES2NET}fc.weight"),
    )


def _merge_config(state: State, front_end: Wav2Vec2FrontEnd) -> MergeConfig:
    states = front_end.depth + 1
    if _has(state, "ssl_model.fc_att_merge."):
        return MergeConfig("sea", states, bottleneck=_size(state, "ssl_model.fc_att_merge.0.weight"))
    if _has(state, "ssl_model.W", "ssl_model.linear_proj."):
        return MergeConfig("attm", states, width=front_end.width, bottleneck=_size(state, "ssl_model.W1", 1))
    # What remains of the three: the network of this code always merges.
    return MergeConfig("weighted-sum", states)


# --------------------------------------------------------------------------------------------------------------- names

Rules = tuple[tuple[str, str], ...]

ENCODER_NAMES: Rules = (
    (r"^feature_extractor\.conv_layers\.(\d)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"^feature_extractor\.conv_layers\.(\d)\.layer_norm\.", r"feature_extractor.conv_layers.\1.2.1."),
    (r"^feature_projection\.layer_norm\.", "layer_norm."),
    (r"^feature_projection\.projection\.", "post_extract_proj."),
    (r"\.pos_conv_embed\.conv\.parametrizations\.weight\.original0$", ".pos_conv.0.weight_g"),
    (r"\.pos_conv_embed\.conv\.parametrizations\.weight\.original1$", ".pos_conv.0.weight_v"),
    (r"\.pos_conv_embed\.conv\.", ".pos_conv.0."),
    (r"^(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"\.attention\.", ".self_attn."),
    (r"\.gru_rel_pos_linear\.", ".grep_linear."),
    (r"\.gru_rel_pos_const$", ".grep_a"),
    (r"\.rel_attn_embed\.", ".relative_attention_bias."),
    (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
    (r"\.feed_forward\.output_dense\.", ".fc2."),
)
MERGE_NAMES: dict[str, Rules] = {
    "weighted-sum": ((r"^weights$", "weight_hidd"),),
    "sea": ((r"^squeeze\.", "fc_att_merge.0."), (r"^excite\.", "fc_att_merge.2.")),
    "attm": ((r"^view$", "W"), (r"^squeeze$", "W1"), (r"^excite$", "W2"), (r"^projection\.", "linear_proj.")),
}
NES2NET_NAMES: Rules = (
    (r"^norm", "bn"),
    (r"^head\.", "fc."),
    (r"^blocks\.", "Build_in_Res2Nets."),
    (r"\.nest\.norms\.", ".bns."),
    (r"\.nest\.column_weights\.", ".weighted_sum."),
    (r"\.nest\.", "."),
    (r"\.(conv|norm)_in\.", r".\g<1>1."),
    (r"\.(conv|norm)_out\.", r".\g<1>3."),
    (r"\.norm(\d)\.", r".bn\1."),
    (r"\.excitation\.squeeze\.", ".se.se.1."),
    (r"\.excitation\.excite\.", ".se.se.3."),
)
AASIST_NAMES: Rules = (
    (r"^reduce\.", "LL."),
    (r"^norm_in\.", "first_bn."),
    (r"^norm_out\.", "first_bn1."),
    (r"^blocks\.(\d)\.norm\.", r"encoder.\1.0.bn2."),
    (r"^blocks\.(\d)\.shortcut\.", r"encoder.\1.0.conv_downsample."),
    (r"^blocks\.(\d)\.", r"encoder.\1.0."),
    (r"^positions$", "pos_S"),
    (r"^graph_spectral\.", "GAT_layer_S."),
    (r"^graph_temporal\.", "GAT_layer_T."),
    (r"^branches\.0\.", "1."),
    (r"^branches\.1\.", "2."),
    (r"^(\d)\.master$", r"master\1"),
    (r"^(\d)\.first\.", r"HtrgGAT_layer_ST\g<1>1."),
    (r"^(\d)\.second\.", r"HtrgGAT_layer_ST\g<1>2."),
    (r"^(\d)\.pool_spectral\.score\.", r"pool_hS\1.proj."),
    (r"^(\d)\.pool_temporal\.score\.", r"pool_hT\1.proj."),
    (r"^pool_spectral\.score\.", "pool_S.proj."),
    (r"^pool_temporal\.score\.", "pool_T.proj."),
    (r"\.temporal\.", ".proj_type1."),
    (r"\.spectral\.", ".proj_type2."),
    (r"\.pair\.", ".att_proj."),
    (r"\.master_pair\.", ".att_projM."),
    (r"\.scorer$", ".att_weight"),
    (r"\.within_temporal$", ".att_weight11"),
    (r"\.within_spectral$", ".att_weight22"),
    (r"\.across$", ".att_weight12"),
    (r"\.to_master$", ".att_weightM"),
    (r"\.project\.attended\.", ".proj_with_att."),
    (r"\.project\.own\.", ".proj_without_att."),
    (r"\.master_project\.attended\.", ".proj_with_attM."),
    (r"\.master_project\.own\.", ".proj_without_attM."),
    (r"\.norm\.", ".bn."),
    (r"^head\.", "out_layer."),
)
# Pre-training's tensors, and AASIST's norms whose output its code discards.
LEFTOVERS = r"mask_emb$|quantizer\.|project_q\.|final_proj\."
UNUSED_NORMS = r"encoder\.\d\.0\.bn1\."


def official_name(key: str, model: Countermeasure, family: Family) -> str:
    """What the official code calls the tensor `key` of a network of this library."""
    part, _, rest = key.partition(".")
    if part == "front_end":
        return family.prefix + _rename(rest.removeprefix("model."), ENCODER_NAMES)
    if part == "merge" and model.merge is not None:
        return "ssl_model." + _rename(rest.removeprefix("rule."), MERGE_NAMES[model.merge.config.kind])
    if isinstance(model.back_end, Aasist):
        return _rename(rest, AASIST_NAMES)
    return NES2NET + _rename(rest, NES2NET_NAMES)


def leftovers(state: State, family: Family) -> set[str]:
    """The names of the tensors that the official code stores and inference does not use."""
    unused = re.compile(f"(?:{re.escape(family.prefix)}(?:{LEFTOVERS}))|(?:{UNUSED_NORMS})")
    return {key for key in state if unused.match(key)}


def _rename(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
