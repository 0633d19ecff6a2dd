"""Exports a run's weights to `models/tiny-asr`, in the layout of microsoft/VibeVoice-ASR-HF."""

import argparse
import json
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    VibeVoiceAcousticTokenizerFeatureExtractor,
    VibeVoiceAsrForConditionalGeneration,
    VibeVoiceAsrProcessor,
)

from training.tiny_asr.model import make_config, make_model


def export(
    model: VibeVoiceAsrForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
    chat_template: str,
    folder: Path,
) -> None:
    """Write weights in bfloat16 (like the 7B's), tokenizer, processor, and generation settings."""
    weights = {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=32768,
    )
    model.save_pretrained(folder, state_dict=weights)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    feature_extractor = VibeVoiceAcousticTokenizerFeatureExtractor()
    VibeVoiceAsrProcessor(feature_extractor, tokenizer, chat_template).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-asr"))
    parser.add_argument("--phase", required=True, help="phase whose weights are exported")
    parser.add_argument(
        "--chat-template", type=Path, default=Path("chat_templates/vibevoice_asr_hf.jinja")
    )
    parser.add_argument("--out", type=Path, default=Path("models/tiny-asr"))
    args = parser.parse_args()
    tokenizer = Qwen2Tokenizer.from_pretrained(args.run / "tokenizer")
    model = make_model(make_config(tokenizer))
    if args.phase != "random":
        state = torch.load(args.run / f"{args.phase}.pt", weights_only=True)
        model.load_state_dict(state["model"])
    export(model, tokenizer, args.chat_template.read_text(), args.out)


if __name__ == "__main__":
    main()
