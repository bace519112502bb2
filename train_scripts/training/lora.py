"""Low-rank adapters on the speech encoder's attention (Hu et al., "LoRA", ICLR 2022), by peft."""

from processing.errors import InputError

ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]


def add_adapters(model, rank: int) -> None:
    """Train adapters instead of the speech encoder; its weights stay as they are.

    Args:
        model: `DecompSerForAudioClassification`.
        rank: of the adapters.

    Raises:
        InputError: if the model has no speech encoder, or peft is not installed.
    """
    if model.speech_encoder is None:
        raise InputError(
            f"finetuning.lora_rank={rank}: this preset has no speech encoder. Set it to 0."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError(
            f"finetuning.lora_rank={rank} needs peft: pip install 'decomp-ser[lora]'."
        ) from error
    model.speech_encoder.feature_extractor._freeze_parameters()
    model.speech_encoder.requires_grad_(False)
    # as large as its rank, so that the update does not depend on it
    adapters = LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION)
    inject_adapter_in_model(adapters, model.speech_encoder)


def merge_adapters(model) -> None:
    """Add the adapters to the weights they adapt, and take them out again."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.speech_encoder.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(model.speech_encoder.get_submodule(parent), own, module.get_base_layer())
