"""The plugin's entry point, called by each vLLM process before it loads a model."""


def register() -> None:
    """Register both published layouts of VibeVoice-ASR with vLLM. Repeated calls have no effect.

    The class is named by string, so that only the process that runs the model imports it. This
    replaces vLLM's own handling of transformers' layout (its generic transformers backend).
    """
    from transformers import AutoConfig
    from vllm import ModelRegistry
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY

    from vibevoice_vllm.checkpoint import HF, ORIGINAL
    from vibevoice_vllm.config import OriginalConfig
    from vibevoice_vllm.media import RecordingConnector

    # To transformers, "vibevoice" is the text-to-speech model, which this plugin never serves.
    AutoConfig.register(OriginalConfig.model_type, OriginalConfig, exist_ok=True)
    for architecture in (ORIGINAL, HF):
        ModelRegistry.register_model(architecture, "vibevoice_vllm.model:VibeVoiceForASR")
    MEDIA_CONNECTOR_REGISTRY.register("vibevoice")(RecordingConnector)
