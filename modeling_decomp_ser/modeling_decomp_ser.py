"""The models: decomposition pre-training (equation 7) and multi-task emotion recognition (figure 1,
equation 5).

Axes: B batch, S samples, T spectrogram frames, U speech encoder frames, K codes, L emotions, P
speakers, V vocabulary, M mel bands.
"""

import copy
import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoFeatureExtractor, PreTrainedModel
from transformers import initialization as init
from transformers.utils import logging
from transformers.utils.generic import ModelOutput, can_return_tuple

from .code_features import EncodedSpeech, encode_waveforms
from .component_shares import component_shares
from .configuration_decomp_ser import DIMENSIONS, DecompSerConfig
from .decomposition import (
    REFERENCE_FRAMES,
    Codes,
    ConvOverTime,
    Decomposition,
    MelProjection,
    ResamplingPlans,
)
from .keyed_random import draw_keys, fold_in, uniform
from .masked_layers import length_mask, masked_mean, masked_statistics, pad_steps
from .multitask_losses import (
    IGNORED,
    TaskLoss,
    classification_loss,
    ctc_loss,
    dimensions_loss,
    reconstruction_loss,
)
from .saved_weights import (
    PLACE,
    UNFINISHED,
    check_finite,
    check_memory,
    check_weights,
    digest_of,
    weight_files,
)
from .speech_encoder import (
    build_speech_encoder,
    encode_speech,
    init_position_weights,
    load_speech_encoder,
    report_in_hand,
)

logger = logging.get_logger(__name__)

SHARED_BY_STAGES = (
    "conv_stride",
    "downsampling",
    "mel_normalization",
    "timbre_input",
    "timbre_pooling",
    "pooling",
    "pooled_normalization",
)
"""Fields that decide what a weight of the decomposition means, but not its shape."""


OF_HUB = ("repo_id", "commit_message", "commit_description", "private", "token", "create_pr")
"""Arguments of `save_pretrained` that are for `push_to_hub`."""

UNTRAINED_HEAD = {"emotion_head_trained": False, "temperature": 1.0, "abstain_below": 0.0}
"""Fields of the configuration that speak of an emotion head which is no longer there."""


@dataclass
class DecompSerOutput(ModelOutput):
    """What the models return; a field that was not asked for is None.

    Args:
        loss: weighted sum of the task losses, a scalar; only with labels.
        losses: the unweighted terms by name (emotion, ctc, speaker, reconstruction), scalars.
        task_losses: the same a row each, for a Trainer that spreads a step over several batches.
        logits: emotion, (B, L).
        ctc_logits: characters, (B, U, V).
        ctc_lengths: valid frames of `ctc_logits`, (B,).
        speaker_logits: (B, P).
        reconstruction: mel spectrogram, (B, T, M).
        dimensions: valence, activation and dominance on the scale of the training ratings, (B, 3).
        speech_mse: reconstruction error of each utterance over its valid frames, (B,); only with
            labels.
        speech_mse_padded: the same counted over 192 frames at least, padding included, as the
            reference counts it, (B,).
        ctc_impossible: transcripts that need more frames than there are, (B,) bool; only with
            transcripts.
        component_shares: each part's share of each logit, (B, 6, L), in the order of COMPONENTS.
        pooled_features: what the emotion head reads, before dropout, (B, D); its parts are
            `part_sizes` wide.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    task_losses: dict[str, TaskLoss] | None = None
    logits: Tensor | None = None
    ctc_logits: Tensor | None = None
    ctc_lengths: Tensor | None = None
    speaker_logits: Tensor | None = None
    reconstruction: Tensor | None = None
    dimensions: Tensor | None = None
    speech_mse: Tensor | None = None
    speech_mse_padded: Tensor | None = None
    ctc_impossible: Tensor | None = None
    component_shares: Tensor | None = None
    pooled_features: Tensor | None = None


class DecompSerPreTrainedModel(PreTrainedModel):
    """Loading, initialisation and abilities shared by the models."""

    config: DecompSerConfig
    base_model_prefix = "decomp_ser"
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True  # dispatched by the library; its kernels were never run
    # The loss is a mean, so the Trainer has to divide it by its accumulation steps.
    accepts_loss_kwargs = False

    # Parts; None where the configuration leaves one out.
    speech_encoder: Any
    decomposition: Any
    ctc_head: Any
    speaker_head: Any
    loss_weights: dict[str, float]

    @classmethod
    def from_pretrained(
        cls, *args, for_training: bool = False, output_loading_info=False, **kwargs
    ) -> Any:
        """Load a saved model; a missing weight is an error unless the model is about to be trained.

        Args:
            *args: as in transformers.
            for_training: allow weights that are missing or of another shape, such as the head for
                new labels. A head for other labels counts as untrained, even where its shape fits:
                set `config.emotion_head_trained = True` after training it.
            output_loading_info: return the report of the weights as well.
            **kwargs: as in transformers.

        Raises:
            ValueError: if a weight is missing or of another shape and `for_training` is False, if a
                weight of the speech encoder is left over or one holds NaN, if the weights are not
                those that were saved, or if they would not fit into memory.
        """
        # a weight of another shape is reported below, with the missing ones
        kwargs["ignore_mismatched_sizes"] = True
        kwargs.setdefault("use_safetensors", True)  # a pickle can run code
        name = args[0] if args else kwargs.get("pretrained_model_name_or_path")
        place = {key: kwargs[key] for key in PLACE if key in kwargs}
        try:
            with report_in_hand():
                loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        except SafetensorError as error:
            raise ValueError(
                f"Checkpoint '{name}': its weights cannot be read ({error}). Copy the folder again "
                "from its source."
            ) from error
        model, report = loaded
        if name is not None and not kwargs.get("variant") and not kwargs.get("state_dict"):
            # by now all files are in the cache, at this commit
            place["_commit_hash"] = getattr(model.config, "_commit_hash", None)
            check_weights(str(name), **place)
        mismatched = {key for key, *_ in report["mismatched_keys"]}
        untrained = sorted({*report["missing_keys"], *mismatched})
        if untrained and not for_training:
            raise ValueError(
                f"Checkpoint '{name}' has no weights for {untrained}: {cls.__name__} would answer "
                "at random. Give a complete checkpoint, or for_training=True to train these parts."
            )
        left_over = sorted(k for k in report["unexpected_keys"] if k.startswith("speech_encoder."))
        if left_over and getattr(model, "speech_encoder", None) is not None:
            raise ValueError(
                f"Checkpoint '{name}' holds {len(left_over)} weights that its speech encoder does "
                f"not have, such as {left_over[0]}. Give the configuration it was trained with."
            )
        unused = [k for k in report["unexpected_keys"] if getattr(model, k.split(".")[0], None)]
        if unused:
            logger.warning(f"'{name}': {len(unused)} weights are not used, such as {unused[0]}.")
        check_finite(model, str(name))
        if "id2label" in kwargs:  # the library would keep the old words beside the new
            model.config.label2id = {word: int(i) for i, word in model.config.id2label.items()}
        new_labels = for_training and not kwargs.keys().isdisjoint(("id2label", "label2id"))
        if new_labels or any(k.startswith("emotion_head.") for k in untrained):
            model.config.update(UNTRAINED_HEAD)
        return (model, report) if output_loading_info else model

    def save_pretrained(
        self, save_directory, is_main_process=True, *args, push_to_hub=False, **kwargs
    ):
        """Save as in transformers, with the SHA-256 of the weights in the configuration."""
        of_hub = {key: kwargs.pop(key) for key in OF_HUB if key in kwargs}
        self.config.weights_digest = UNFINISHED
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        # one digest stands for the files that are loaded by default
        files = [] if kwargs.get("variant") else weight_files(str(save_directory))
        self.config.weights_digest = digest_of(files) if files else None
        if is_main_process:
            self.config.save_pretrained(save_directory)
        if push_to_hub:
            repo_id = of_hub.pop("repo_id", os.path.basename(os.path.abspath(save_directory)))
            self.push_to_hub(repo_id, **of_hub)

    def get_input_embeddings(self) -> None:
        """There is no table of embeddings; FSDP asks for one, to wrap it by itself."""

    def post_init(self):
        """As in transformers; refuses sizes that no memory would hold before there are any."""
        super().post_init()
        check_memory(self)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.LSTM):  # torch's own, as in the reference
            bound = 1 / math.sqrt(module.hidden_size)
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)
        # By the layer's own type: once a layer is initialised, its parent can no longer change it.
        elif isinstance(module, ConvOverTime):
            init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("relu"))
        elif isinstance(module, MelProjection):
            init.xavier_uniform_(module.weight)
        elif isinstance(module, DecompSerForAudioClassification):
            init.zeros_(module.pooled_mean)
            if module.speech_encoder is not None:
                init_position_weights(module.speech_encoder)

    def keys_of(self, batch, resampling_keys: Tensor | None) -> Tensor | None:
        """In training the keys (B,) given, or fresh ones from torch's generator; else None."""
        if not self.training:
            return None
        if resampling_keys is not None:
            return resampling_keys
        return draw_keys(len(batch), device=batch.device)

    def lengths_of(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Valid steps of each row, (B,): the mask's, or all."""
        if mask is not None:
            return mask.sum(1).to(torch.int64)
        return torch.full((x.shape[0],), x.shape[1], dtype=torch.int64, device=x.device)

    def labels_of(self, labels: Tensor | None, *shape: int, device) -> Tensor | None:
        """Labels of a task; in training, where there are none, as many that do not count, so that
        no head stands idle while other processes train it.
        """
        if labels is None and self.training:
            return torch.full(shape, IGNORED, device=device)
        return labels

    def pool(self, values: Tensor, lengths: Tensor) -> Tensor:
        """(B, time, D) and valid steps to (B, D), or (B, 3 D), as the configuration says."""
        pool = masked_statistics if self.config.pooling == "statistics" else masked_mean
        pooled = pool(values, lengths)
        if self.config.pooled_normalization == "layer":
            pooled = F.layer_norm(pooled, pooled.shape[-1:])
        return pooled

    def pooled_size(self, width: int) -> int:
        """Size of a pooled vector of sequences of this width."""
        return 3 * width if self.config.pooling == "statistics" else width

    def build_speaker_head(self) -> nn.Linear | None:
        """Head on the pooled timbre codes; None without the task, or without codes for it."""
        component = self.config.speaker_component
        if not self.config.speaker_weight or component is None:
            return None
        size = self.pooled_size(self.config.code_size(component))
        return nn.Linear(size, max(1, len(self.config.speakers)))

    def pool_voice(self, codes: dict[str, Codes]) -> Tensor:
        """Pooled codes that the speaker head reads, (B, D): timbre, or the undivided ones."""
        code = codes[str(self.config.speaker_component)]
        return self.pool(code.values, code.lengths)

    def add_losses(self, output: DecompSerOutput, tasks: dict[str, TaskLoss]) -> DecompSerOutput:
        """Fill in the task losses and their sum, weighted by `loss_weights`."""
        output.task_losses = tasks
        output.losses = {name: task.mean() for name, task in tasks.items()}
        terms = [self.loss_weights[name] * loss for name, loss in output.losses.items()]
        output.loss = torch.stack(terms).sum() if terms else None
        return output

    def add_speech_mse(self, output: DecompSerOutput, errors: Tensor, lengths: Tensor) -> None:
        """Report the error of each row (B,) over its own frames, and over the reference's.

        The padding of the reference is zeros in the target. Ours is not computed and counts as
        right.
        """
        output.speech_mse = errors.detach()
        output.speech_mse_padded = output.speech_mse * lengths / lengths.clamp(min=REFERENCE_FRAMES)


class DecompSerForPreTraining(DecompSerPreTrainedModel):
    """Decomposition autoencoder with a speaker head (section 3.2, trained by equation 7)."""

    main_input_name = "mel"

    def __init__(self, config: DecompSerConfig):
        super().__init__(config)
        if not config.components:
            raise ValueError(
                "components=[]: there is no decomposition to pre-train. M1 and M2 need no "
                "pre-training."
            )
        self.decomposition = Decomposition(config, with_decoder=True)
        self.speaker_head = self.build_speaker_head()
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        mel: Tensor,
        log_f0: Tensor,
        voiced: Tensor,
        frame_mask: Tensor,
        speaker_labels: Tensor | None = None,
        resampling_keys: Tensor | None = None,
        resampled_frames: int | None = None,
    ) -> DecompSerOutput:
        """Reconstruct crops and recognise their speakers.

        Args:
            mel: log-mel spectrogram in [0, 1], (B, T, M).
            log_f0: normalised log-F0 in [0, 1], (B, T).
            voiced: (B, T).
            frame_mask: 1 for real frames, (B, T).
            speaker_labels: (B,) int64, -100 where unknown.
            resampling_keys: randomness of each row, (B,) int64; default drawn from torch's
                generator. Training only.
            resampled_frames: what `count_resampled_frames` says of these crops and keys, which
                saves padding and changes no result; default what the reference allows, 192.

        Returns:
            `loss` (equation 7), `losses`, `reconstruction`, `speaker_logits`, `speech_mse`,
            `speech_mse_padded`.
        """
        lengths = self.lengths_of(mel, frame_mask)
        mel = mel.masked_fill(~length_mask(lengths, mel.shape[1])[..., None], 0.0)
        padded = self.config.pretraining_padding == "padded192"
        if padded:
            size = max(REFERENCE_FRAMES, mel.shape[1])
            mel, log_f0, voiced = (pad_steps(x, size) for x in (mel, log_f0, voiced))
        keys = self.keys_of(mel, resampling_keys)
        plans = self.draw_plans(lengths, mel.shape[1], keys, padded, resampled_frames)
        codes = self.decomposition(mel, log_f0, voiced > 0, lengths, plans, padded)
        signal_lengths = torch.full_like(lengths, mel.shape[1]) if padded else lengths
        reconstruction = self.decomposition.reconstruct(codes, signal_lengths, mel.shape[1])

        output = DecompSerOutput(reconstruction=reconstruction)
        tasks = {"reconstruction": reconstruction_loss(reconstruction, mel, lengths)}
        self.add_speech_mse(output, tasks["reconstruction"].per_row, lengths)
        if padded:
            tasks["reconstruction"] = reconstruction_loss(reconstruction, mel, signal_lengths)
            output.speech_mse_padded = tasks["reconstruction"].per_row.detach()
        if self.speaker_head is not None:
            speaker_logits = output.speaker_logits = self.speaker_head(self.pool_voice(codes))
            speaker_labels = self.labels_of(speaker_labels, len(mel), device=mel.device)
            if speaker_labels is not None:
                tasks["speaker"] = classification_loss(speaker_logits, speaker_labels)
        return self.add_losses(output, tasks)

    def draw_plans(
        self,
        lengths: Tensor,
        num_frames: int,
        keys: Tensor | None,
        padded: bool,
        resampled_frames: int | None = None,
    ) -> ResamplingPlans:
        """Random resampling of crops, none in evaluation.

        A crop has the reference's 192 frames to be stretched into, or what its longest stretch
        needs, so that the input stage cuts nothing. The decoder reads the codes of the crop alone.
        """
        if keys is None:
            return ResamplingPlans()
        longest = self.config.resampling_max_scale
        whole = self.decomposition.whole_codes
        limits = whole((lengths * longest).to(torch.int64)).clamp(min=REFERENCE_FRAMES)
        size = max(REFERENCE_FRAMES, whole(int(num_frames * longest)))
        if padded:
            limits, size = torch.full_like(lengths, num_frames), num_frames
        elif resampled_frames is not None:
            limits, size = limits.clamp(max=resampled_frames), resampled_frames
        return self.decomposition.draw_plans(
            lengths, fold_in(keys, 2), limits=limits, num_frames=size, padded=padded
        )

    def count_resampled_frames(self, lengths: Tensor, resampling_keys: Tensor) -> int:
        """Frames that crops of `lengths` (B,) need in the encoders once they are resampled: those
        of the longest, at any stage. For a data loader on the host, since `forward` asks no device.
        """
        plans = self.draw_plans(lengths, int(lengths.max()), resampling_keys, padded=False)
        stages = [plan.lengths * self.config.conv_stride for plan in plans.inner]
        stages += [plans.input.lengths] if plans.input is not None else []
        longest = torch.stack([lengths, *stages]).max()
        return self.decomposition.whole_codes(int(longest))

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights of equation (7); all on the reconstruction where there is no speaker head."""
        omega = self.config.pretraining_speaker_weight if self.speaker_head is not None else 0.0
        return {"speaker": omega, "reconstruction": 1 - omega}


class DecompSerForAudioClassification(DecompSerPreTrainedModel):
    """Emotion from speech encoder and codes, trained on up to four tasks (figure 1, equation 5)."""

    pooled_mean: Tensor

    def __init__(self, config: DecompSerConfig):
        super().__init__(config)
        self.speech_encoder = self.decomposition = self.ctc_head = None
        speech_config: Any = config.speech_config
        widths: list[int] = []
        if config.use_speech_encoder:
            self.speech_encoder = build_speech_encoder(speech_config)
            widths.append(speech_config.hidden_size)
        if config.components:
            self.decomposition = Decomposition(
                config, with_decoder=config.reconstruction_weight > 0
            )
            widths += [config.code_size(c) for c in config.components]
        if config.ctc_weight:
            self.ctc_head = nn.Linear(speech_config.hidden_size, config.vocab_size)
        self.speaker_head = self.build_speaker_head()
        self.part_sizes = [self.pooled_size(w) for w in widths]
        self.dropout = nn.Dropout(config.head_dropout)
        self.emotion_head = nn.Linear(sum(self.part_sizes), len(config.id2label or {}))
        self.dimensions_head = None
        if config.dimensions_weight:
            self.dimensions_head = nn.Linear(sum(self.part_sizes), len(DIMENSIONS))
        # Mean of the pooled features over the training set: what a component share is a deviation
        # from.
        self.register_buffer("pooled_mean", torch.zeros(sum(self.part_sizes)))
        self.post_init()

    @classmethod
    def from_speech_encoder(cls, name_or_path: str, config: DecompSerConfig, **kwargs):
        """Build an untrained model on a pretrained speech encoder, such as
        "facebook/wav2vec2-base", whose own configuration replaces `config.speech_config`; further
        arguments are of its loading.

        Raises:
            OSError: if the encoder cannot be found or reached.
            ValueError: if its weights are incomplete.
        """
        encoder = load_speech_encoder(name_or_path, **kwargs)
        config = copy.deepcopy(config)
        config.speech_config = encoder.config
        if os.path.isdir(name_or_path):  # a path of this machine would be published with the model
            config.speech_config.name_or_path = ""
        model: Any = cls(config)
        model.speech_encoder.load_state_dict(encoder.state_dict())
        return model

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Save as in transformers, together with the pipeline."""
        # The library copies what a file imports from beside it, also inside of a function.
        from .pipeline_decomp_ser import DecompSerPipeline

        self.config.custom_pipelines = {
            "audio-classification": {
                "impl": f"pipeline_decomp_ser.{DecompSerPipeline.__name__}",
                "pt": ["AutoModelForAudioClassification"],
                "type": "audio",
            }
        }
        super().save_pretrained(save_directory, *args, **kwargs)

    def load_decomposition(self, pretrained: DecompSerForPreTraining) -> list[str]:
        """Take the weights of a pre-trained decomposition with the same components and sizes, and
        of its speaker head if the speakers are the same; returns the names of the parts taken.

        Raises:
            ValueError: if components or sizes differ.
        """
        own, other = self.config, pretrained.config
        # The weights of these would fit, but mean something else.
        for field in ("components", *SHARED_BY_STAGES):
            mine, theirs = getattr(own, field), getattr(other, field)
            if mine != theirs:
                raise ValueError(
                    f"The pre-trained decomposition has {field}={theirs}, expected {mine}. "
                    "Pre-train with the same preset and size."
                )
        taken: dict[str, Any] = {"decomposition": (self.decomposition, pretrained.decomposition)}
        if own.speakers == other.speakers and self.speaker_head and pretrained.speaker_head:
            taken["speaker_head"] = (self.speaker_head, pretrained.speaker_head)
        for name, (part, pretrained_part) in taken.items():
            wanted = part.state_dict()
            state = pretrained_part.state_dict()
            if self.config.reconstruction_weight == 0:  # this model has no decoder
                state = {k: v for k, v in state.items() if not k.startswith("decoder.")}
            sizes, wanted_sizes = ({k: v.shape for k, v in x.items()} for x in (state, wanted))
            if sizes != wanted_sizes:
                differs = sorted(dict(sizes.items() ^ wanted_sizes.items()))
                raise ValueError(
                    f"The pre-trained {name} has other sizes: {len(differs)} weights differ, such "
                    f"as {differs[0]}. Pre-train with the same preset and size."
                )
            part.load_state_dict(state)
        return list(taken)

    def freeze_speech_encoder(self) -> None:
        """Stop training the part of the speech encoder that the configuration names."""
        frozen = self.config.frozen_speech_encoder
        if self.speech_encoder is None or frozen == "none":
            return
        # The library's own method also stops its encoder from asking for a gradient of the
        # waveform.
        self.speech_encoder.feature_extractor._freeze_parameters()
        if frozen == "all":
            self.speech_encoder.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mel: Tensor | None = None,
        log_f0: Tensor | None = None,
        voiced: Tensor | None = None,
        frame_mask: Tensor | None = None,
        labels: Tensor | None = None,
        ctc_labels: Tensor | None = None,
        speaker_labels: Tensor | None = None,
        label_distribution: Tensor | None = None,
        dimension_labels: Tensor | None = None,
        resampling_keys: Tensor | None = None,
        output_ctc_logits: bool = False,
        output_speaker_logits: bool = False,
        output_reconstruction: bool = False,
        output_component_shares: bool = False,
        output_pooled_features: bool = False,
    ) -> DecompSerOutput:
        """Recognise emotion; with labels, or where asked by name, also speech, speaker and
        spectrogram.

        Args:
            input_values: normalised waveform at 16 kHz, (B, S).
            attention_mask: 1 for real samples, (B, S); default all.
            mel: log-mel spectrogram in [0, 1], (B, T, M).
            log_f0: normalised log-F0 in [0, 1], (B, T).
            voiced: (B, T).
            frame_mask: 1 for real frames, (B, T); default all.
            labels: emotion, (B,) int64, -100 where unknown.
            ctc_labels: characters, (B, N) int64, padded with -100; a row of -100 alone has no
                transcript.
            speaker_labels: (B,) int64, -100 where unknown.
            label_distribution: shares of raters' votes for each emotion, (B, L), which the emotion
                loss takes instead of `labels`, where these are known.
            dimension_labels: ratings of valence, activation and dominance, (B, 3), NaN where
                unknown.
            resampling_keys: randomness of each row in training, (B,) int64; default drawn from
                torch's generator.
            output_ctc_logits: return `ctc_logits` and `ctc_lengths`.
            output_speaker_logits: return `speaker_logits`.
            output_reconstruction: return `reconstruction`.
            output_component_shares: return `component_shares`.
            output_pooled_features: return `pooled_features`.

        Returns:
            `logits`; with any labels also `loss`, `losses` and the outputs of every head that
            exists.

        Raises:
            ValueError: if an input that a part of this model reads is missing, or an output has no
                head.
        """
        self.check_inputs(input_values=input_values, mel=mel, log_f0=log_f0, voiced=voiced)
        self.check_outputs(output_ctc_logits, output_speaker_logits, output_reconstruction)
        with_losses = any(
            x is not None for x in (labels, ctc_labels, speaker_labels, dimension_labels)
        )
        keys = self.keys_of(input_values if mel is None else mel, resampling_keys)
        output, parts = DecompSerOutput(), list[Tensor]()
        if self.speech_encoder is not None:
            speech, lengths = self.encode_speech(input_values, attention_mask, keys)  # (B, U, D)
            parts.append(self.pool(speech, lengths))
            if self.ctc_head is not None and (with_losses or output_ctc_logits):
                output.ctc_logits, output.ctc_lengths = self.ctc_head(speech), lengths
        if self.decomposition is not None:
            codes = self.decompose(mel, log_f0, voiced, frame_mask, keys)
            parts += [self.pool(code.values, code.lengths) for code in codes.values()]
            if with_losses or output_reconstruction:
                output.reconstruction = self.reconstruct(codes, mel, frame_mask)
            if self.speaker_head is not None and (with_losses or output_speaker_logits):
                output.speaker_logits = self.speaker_head(self.dropout(self.pool_voice(codes)))
        pooled = torch.cat(self.drop_parts(parts, keys), dim=-1)
        heard = self.dropout(pooled)
        output.logits = self.emotion_head(heard)
        if self.dimensions_head is not None:
            output.dimensions = self.dimensions_head(heard)
        if with_losses:
            targets = (labels, ctc_labels, speaker_labels, label_distribution, dimension_labels)
            self.add_task_losses(output, mel, frame_mask, *targets)
        return self.add_parts(output, pooled, output_pooled_features, output_component_shares)

    def encode(
        self, waveforms: Any, feature_extractor: Any = None, sampling_rate: int | None = None
    ) -> list[EncodedSpeech]:
        """The codes of utterances, by part: frame by frame with times, and pooled; and the speaker
        embedding. The mode of the model does not matter, and no gradient is kept.

        Args:
            waveforms: (S,) samples, or a list of such; see `DecompSerFeatureExtractor`.
            feature_extractor: that of the model; default: it is loaded from where the model was.
            sampling_rate: of the waveforms, in Hz; default the model's.

        Raises:
            ValueError: if a waveform cannot be used, or the model was not loaded from anywhere and
                no extractor is given.

        Examples:
            ```python
            [speech] = model.encode(waveform, sampling_rate=16000)
            speech.parts["pitch"].frames, speech.parts["pitch"].times, speech.speaker_embedding
            ```
        """
        if feature_extractor is None:
            if not self.name_or_path:
                raise ValueError(
                    "encode() of a model that was not loaded from a folder or a repository: pass "
                    "feature_extractor=."
                )
            # the code that came with the model was trusted when that was loaded
            feature_extractor = AutoFeatureExtractor.from_pretrained(
                self.name_or_path,
                revision=getattr(self.config, "_commit_hash", None) or "main",
                trust_remote_code=type(self).__module__.startswith("transformers_modules."),
            )
        return encode_waveforms(self, waveforms, feature_extractor, sampling_rate)

    def add_parts(self, output: Any, pooled: Tensor, features: bool, shares: bool) -> Any:
        """Report what the emotion head read, (B, D), and what each part of it added, as asked."""
        if features:
            output.pooled_features = pooled
        if shares:
            output.component_shares = component_shares(
                pooled, self.pooled_mean, self.emotion_head, self.part_sizes, self.config
            )
        return output

    def drop_parts(self, features: list[Tensor], keys: Tensor | None) -> list[Tensor]:
        """Leave parts out at random in training, row by row; pooled vectors, (B, D) each."""
        probability = self.config.part_dropout
        if keys is None or not probability or len(features) == 1:
            return features
        kept = uniform(fold_in(keys, 5), len(features)) >= probability  # (B, parts)
        scale = kept.to(features[0].dtype) / (1 - probability)
        return [part * scale[:, i : i + 1] for i, part in enumerate(features)]

    def encode_speech(self, input_values, attention_mask, keys) -> tuple[Tensor, Tensor]:
        """Waveform to hidden states (B, U, D) and their valid lengths (B,)."""
        num_samples = self.lengths_of(input_values, attention_mask)
        keys = fold_in(keys, 1) if keys is not None else None
        return encode_speech(self.speech_encoder, input_values, num_samples, keys)

    def decompose(self, mel, log_f0, voiced, frame_mask, keys) -> dict[str, Codes]:
        """Spectrogram and pitch contour to codes by component, resampled at random in training."""
        lengths = self.lengths_of(mel, frame_mask)
        plans = ResamplingPlans()
        if keys is not None and self.config.resampling_in_finetuning:
            whole = self.decomposition.whole_codes
            plans = self.decomposition.draw_plans(
                lengths,
                fold_in(keys, 2),
                limits=whole(lengths),
                num_frames=whole(mel.shape[1]),
                padded=False,
            )
        return self.decomposition(mel, log_f0, voiced > 0, lengths, plans)

    def reconstruct(self, codes: dict[str, Codes], mel, frame_mask) -> Tensor | None:
        """Codes to the spectrogram, (B, T, M), where there is a decoder."""
        if self.decomposition.decoder is None:
            return None
        lengths = self.lengths_of(mel, frame_mask)
        return self.decomposition.reconstruct(codes, lengths, mel.shape[1])

    def add_task_losses(
        self,
        output: Any,
        mel,
        frame_mask,
        labels,
        ctc_labels,
        speaker_labels,
        distribution,
        dimension_labels,
    ) -> None:
        """Add the loss of every task with both its head and its labels (equations 1 to 5)."""
        config: Any = self.config
        batch, device = len(output.logits), output.logits.device
        labels = self.labels_of(labels, batch, device=device)
        ctc_labels = self.labels_of(ctc_labels, batch, 1, device=device)
        speaker_labels = self.labels_of(speaker_labels, batch, device=device)
        tasks: dict[str, TaskLoss] = {}
        if labels is not None:
            tasks["emotion"] = classification_loss(output.logits, labels, distribution)
        if output.ctc_logits is not None and ctc_labels is not None:
            tasks["ctc"], output.ctc_impossible = ctc_loss(
                output.ctc_logits,
                output.ctc_lengths,
                ctc_labels,
                blank=config.pad_token_id,
                reduction=config.ctc_reduction,
            )
        if output.speaker_logits is not None and speaker_labels is not None:
            tasks["speaker"] = classification_loss(output.speaker_logits, speaker_labels)
        if output.dimensions is not None and (dimension_labels is not None or self.training):
            if dimension_labels is None:
                dimension_labels = torch.full_like(output.dimensions, float("nan"))
            tasks["dimensions"] = dimensions_loss(output.dimensions, dimension_labels)
        if output.reconstruction is not None:
            lengths = self.lengths_of(mel, frame_mask)
            tasks["reconstruction"] = reconstruction_loss(output.reconstruction, mel, lengths)
            self.add_speech_mse(output, tasks["reconstruction"].per_row, lengths)
        self.add_losses(output, tasks)

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights of equation (5), and that of the dimensions where they are a task."""
        names = ["emotion", "ctc", "speaker", "reconstruction"]
        names += ["dimensions"] if self.dimensions_head is not None else []
        return {name: getattr(self.config, f"{name}_weight") for name in names}

    def check_inputs(self, **inputs: Tensor | None) -> None:
        """Raise ValueError where a part lacks its input."""
        read = ["input_values"] if self.speech_encoder is not None else []
        read += ["mel", "log_f0", "voiced"] if self.decomposition is not None else []
        missing = [name for name in read if inputs[name] is None]
        if missing:
            raise ValueError(
                f"This model needs {missing}: pass all that DecompSerFeatureExtractor returns."
            )

    def check_outputs(self, ctc_logits: bool, speaker_logits: bool, reconstruction: bool) -> None:
        """Raise ValueError where an output is asked for that has no head."""
        decoder = self.decomposition.decoder if self.decomposition is not None else None
        for name, asked, part in (
            ("ctc_logits", ctc_logits, self.ctc_head),
            ("speaker_logits", speaker_logits, self.speaker_head),
            ("reconstruction", reconstruction, decoder),
        ):
            if asked and part is None:
                raise ValueError(
                    f"output_{name}=True, but this model was built without that head (its task "
                    "weight is 0)."
                )


DecompSerForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
DecompSerForPreTraining.register_for_auto_class("AutoModelForPreTraining")
