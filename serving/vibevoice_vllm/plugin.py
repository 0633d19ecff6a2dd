"""What vLLM calls in each of its processes before it loads a model."""


def register() -> None:
    """Make both published layouts of VibeVoice-ASR known to vLLM; calling it again changes nothing.

    The class is named by string, so that only the process that runs the model imports it. vLLM's
    own route for transformers' layout (its generic transformers backend) is replaced.
    """
    from transformers import AutoConfig
    from vllm import ModelRegistry
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY

    from vibevoice_vllm.checkpoint import HF, ORIGINAL
    from vibevoice_vllm.config import OriginalConfig
    from vibevoice_vllm.media import RecordingConnector

    # transformers knows "vibevoice" as the text-to-speech model; a server of this plugin has none.
    AutoConfig.register(OriginalConfig.model_type, OriginalConfig, exist_ok=True)
    for architecture in (ORIGINAL, HF):
        ModelRegistry.register_model(architecture, "vibevoice_vllm.model:VibeVoiceForASR")
    MEDIA_CONNECTOR_REGISTRY.register("vibevoice")(RecordingConnector)
