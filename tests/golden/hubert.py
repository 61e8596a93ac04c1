"""Makes a small random HuBERT and what Hugging Face's implementation computes from it.

    pip install torch transformers safetensors numpy
    python tests/golden/hubert.py trainer/tests/fixtures/hubert

Writes `encoder.safetensors` (float32, with fairseq's names), `audio.npy` and `content.npy`.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import HubertConfig, HubertModel

FRAMES = 40


def fairseq_name(name: str) -> str:
    """The name fairseq gives a tensor of Hugging Face's model."""
    for ours, theirs in [
        ("feature_extractor.conv_layers.0.layer_norm.", "feature_extractor.conv_layers.0.2."),
        (".conv.weight", ".0.weight"),
        ("feature_projection.layer_norm.", "layer_norm."),
        ("feature_projection.projection.", "post_extract_proj."),
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original0", "encoder.pos_conv.0.weight_g"),
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original1", "encoder.pos_conv.0.weight_v"),
        ("encoder.pos_conv_embed.conv.bias", "encoder.pos_conv.0.bias"),
        (".attention.", ".self_attn."),
        (".feed_forward.intermediate_dense.", ".fc1."),
        (".feed_forward.output_dense.", ".fc2."),
    ]:
        name = name.replace(ours, theirs)
    if name.startswith("encoder.layers.") and ".layer_norm." in name and "final" not in name:
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
    return name


def main(folder: Path) -> None:
    torch.manual_seed(5)
    config = HubertConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=80,
        conv_dim=(24,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=False,
        feat_extract_norm="group",
        conv_bias=False,
        feat_proj_layer_norm=True,
    )
    model = HubertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        time = torch.arange(320 * FRAMES + 80) / 16000
        audio = 0.3 * torch.sin(2 * torch.pi * (200 + 300 * time) * time) + 0.05 * torch.randn(time.shape)
        content = model(audio[None]).last_hidden_state
    assert content.shape[1] == FRAMES, content.shape
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        fairseq_name(name): value.float().contiguous()
        for name, value in model.state_dict().items()
        if "masked_spec_embed" not in name
    }
    save_file(tensors, folder / "encoder.safetensors")
    np.save(folder / "audio.npy", audio.numpy().astype(np.float32))
    np.save(folder / "content.npy", content.numpy().astype(np.float32))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
