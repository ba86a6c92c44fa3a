"""Tiny pipelines of the real classes, built offline, and hostile pickles."""

import json
import math

import numpy as np
import torch

from irrev.diffusion.models.edm2 import Edm2Config, tensor_shapes

EDM2 = Edm2Config(
    img_resolution=8,
    img_channels=3,
    label_dim=4,
    model_channels=16,
    channel_mult=(1, 2),
    num_blocks=1,
    attn_resolutions=(4,),
    channels_per_head=8,
    logvar_channels=8,
)


def edm2_weights(config=EDM2):
    """The golden fill: sines by position in the sorted list of names."""
    out = {}
    for j, (name, shape) in enumerate(sorted(tensor_shapes(config).items())):
        if shape == ():
            out[name] = torch.tensor(0.3 + 0.1 * (j % 4))
            continue
        i = np.arange(math.prod(shape), dtype=float)
        fill = np.sin(0.7 * i + 1.3 * j + 0.1) + 0.5 * np.cos(0.11 * i * (1 + j % 5))
        out[name] = torch.tensor(fill.astype(np.float32).reshape(shape))
    return out


def tiny_stable_diffusion(folder):
    """A Stable Diffusion pipeline of a million weights with a one-letter tokenizer."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as Unet
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    tokenizer = CLIPTokenizer(*files, model_max_length=77)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=77, projection_dim=32,
                bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
                pad_token_id=len(words) - 1,
            )
        )  # fmt: skip
        unet = Unet(
            sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32, attention_head_dim=8,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(32, 64), norm_num_groups=8, sample_size=16, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_dit():
    """A DiT of four classes."""
    from diffusers import DiTTransformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8,
            num_layers=2, sample_size=8, patch_size=2, num_embeds_ada_norm=4,
        )  # fmt: skip
        # The real ones start from zero too: give the last layers something to say.
        for parameter in model.parameters():
            if float(parameter.detach().abs().max()) == 0:
                torch.nn.init.normal_(parameter, std=0.1)
    return model
