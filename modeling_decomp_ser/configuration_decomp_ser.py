"""Configuration of the decomposed-speech emotion recogniser (Hsu, Wu and Wei, Interspeech 2023).

Only the architecture and the task weights live here. Signal settings belong to the feature
extractor and run settings (learning rates, epochs, paths) to the presets. Fields for which the
paper states no value say so and give the reason of their default.
"""

import hashlib
import json
import math
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import logging

logger = logging.get_logger(__name__)

COMPONENTS = ("wav2vec2", "rhythm", "content", "pitch", "timbre", "bias")
"""Order of the parts of a logit in `component_shares`; M4's single code stands as "content"."""

DECOMPOSED = ("rhythm", "content", "pitch", "timbre")
"""The encoders of the paper (section 2.2), in the order in which codes are concatenated."""

SINGLE = "single"
"""The one undivided encoder of the ablation M4 (Table 3)."""

EMOTIONS = ("angry", "happy", "sad", "neutral")
"""Classes where no others are given: those of Table 1, excited turns counted as happy."""

DIMENSIONS = ("valence", "activation", "dominance")
"""What the head of dimensions answers, in this order; activation is also called arousal."""

SPEECH_ENCODERS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
"""Model types whose modules share the names and the meaning of wav2vec2's."""


UNSEALED = (
    *("settings_digest", "transformers_version", "auto_map", "custom_pipelines", "architectures"),
    *("_name_or_path", "name_or_path", "_commit_hash"),
)
"""What of a stored configuration changes no answer, and may be changed by a library."""


def settings_digest(content: dict) -> str:
    """SHA-256 over a configuration as JSON."""
    kept = {key: value for key, value in content.items() if key not in UNSEALED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def refuse_if(wrong: Any, message: str) -> None:
    """Raise ValueError with the message where something is wrong."""
    if wrong:
        raise ValueError(message)


WEIGHTS = (
    *("emotion_weight", "ctc_weight", "speaker_weight", "reconstruction_weight"),
    "dimensions_weight",
)
COUNTS = (
    *("num_mel_bins", "num_f0_bins", "downsampling", "conv_kernel_size", "conv_stride"),
    *("conv_channels_per_group", "vocab_size", "resampling_max_length"),
)
DTYPES = ("float32", "float16", "bfloat16", "float64")
MOST_LAYERS, MOST_UNITS = 1000, 1_000_000
"""Far beyond any network of this kind: what is larger is a damaged number."""

SPEECH_COUNTS = (
    *("hidden_size", "intermediate_size", "num_attention_heads"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "num_feat_extract_layers"),
)


def check_range(name: str, value: Any, least: int, most: int) -> None:
    """Raise ValueError for what is no whole number of a range."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    refuse_if(
        not whole or not least <= value <= most,
        f"{name}={value!r}: expected a whole number, {least} to {most}.",
    )


def check_speech_sizes(config: Any) -> None:
    """Raise ValueError for a size of the speech encoder that cannot be built or would never end."""
    check_range("speech_config.num_hidden_layers", config.num_hidden_layers, 1, MOST_LAYERS)
    for name in SPEECH_COUNTS:
        if hasattr(config, name):
            check_range(f"speech_config.{name}", getattr(config, name), 1, MOST_UNITS)
    refuse_if(
        config.hidden_size % config.num_attention_heads,
        f"speech_config.hidden_size={config.hidden_size} is no multiple of num_attention_heads="
        f"{config.num_attention_heads}.",
    )
    # that they are lists of one length is checked by the library
    check_range("speech_config: number of convolutions", len(config.conv_dim), 1, MOST_LAYERS)
    for name in ("conv_dim", "conv_kernel", "conv_stride"):
        for size in getattr(config, name):
            check_range(f"speech_config.{name}", size, 1, MOST_UNITS)


@strict
class DecompSerConfig(PreTrainedConfig):
    """Architecture, task weights and labels.

    Args:
        use_speech_encoder: whether wav2vec2 is part of the model. The paper concatenates it with
            every component (section 3.3); False gives the decomposition encoders alone.
        speech_config: configuration of the speech encoder (any of the wav2vec2 family: wav2vec2,
            hubert, wavlm, data2vec-audio); default wav2vec2-base. None without a speech encoder.
            Its dropout, layerdrop and SpecAugment stay as its checkpoint has them, because the
            paper says nothing of them.
        frozen_speech_encoder: which part of the speech encoder is not trained: "none" (the paper
            fine-tunes it, and its baseline trains the convolutions too), "convolutions" or "all".
        components: which codes are extracted: a subset of rhythm, content, pitch, timbre in this
            order (Table 2), or ["single"] (M4), or [] (M1 and M2).
        single_reads_pitch: whether the one encoder of ["single"] reads the pitch contour beside the
            spectrogram, and so hears what the four encoders hear (not in the paper).
        num_mel_bins: mel bands a frame.
        num_f0_bins: voiced classes of quantised log-F0; class 0 is added for unvoiced frames
            (SpeechSplit: 256).
        downsampling: frames of the spectrogram a code (SpeechSplit: 8, so 7.8 codes a second at a
            hop of 16 ms).
        conv_kernel_size: kernel of the encoders' convolutions, in frames; odd.
        conv_stride: stride of the first convolution; 1 as in SpeechSplit. 2 halves the cost of
            small models.
        conv_channels_per_group: channels in a group of the group norm.
        rhythm_conv_layers, rhythm_conv_channels, rhythm_lstm_layers, rhythm_hidden_size: sizes of
            encoder R; the same four for content (C), pitch (F), timbre (T) and single (M4). The
            paper gives none; R, C and F are SpeechSplit's, T is as C (a narrow code limits what
            else it can carry), M4 has the width of all four.
        decoder_layers: BLSTM layers of the decoder (the paper says "a bi-LSTM", SpeechSplit has 3).
        decoder_hidden_size: width of each direction of the decoder.
        timbre_input: "resampled" (default: random resampling keeps timbre and denies rhythm to
            encoder T) or "raw".
        timbre_pooling: "frames" (a code every `downsampling` frames, concatenated like the others)
            or "utterance" (the mean code, repeated; the stricter definition of timbre).
        resampling_input: resample the inputs of C, F and T at random during training (section 2.1).
        resampling_inner: resample again after each convolution of C and F, one draw a layer shared
            by both (SpeechSplit).
        resampling_in_finetuning: keep random resampling in multi-task training (section 2.1: "in
            the training process").
        resampling_min_length, resampling_max_length: frames of a segment, both inclusive. The paper
            says "equal length", its reference draws 19 to 31.
        resampling_min_scale, resampling_max_scale: range of the stretch of a segment.
        pretraining_padding: "masked" (default) or "padded192": the reference's arithmetic in
            pre-training, where every crop is padded to 192 frames and padding counts as signal.
        pooling: how a sequence becomes one vector for the heads: "mean" (over valid time steps; the
            paper says nothing, its baseline means over time) or "statistics" (mean, standard
            deviation and maximum).
        pooled_normalization: "none", or "layer": each part's pooled vector has zero mean and unit
            variance over its entries before the heads read it, so that no part is drowned by
            another's scale. Every part is normalised alone, so component shares stay exact.
        part_dropout: probability of leaving a part's pooled vector out of the emotion head in
            training, for each turn and part; the others are scaled up. It keeps a part that learns
            the training turns by heart from silencing the others.
        head_dropout: dropout before the emotion and speaker heads.
        mel_normalization: "none", or "utterance": the encoders see the spectrogram less its mean
            over the utterance in each band, which removes the channel and the recording level. The
            reconstruction target never changes.
        emotion_weight, ctc_weight, speaker_weight, reconstruction_weight: the alphas of equation
            (5). A head whose weight is 0 does not exist.
        dimensions_weight: of a fifth task, valence, activation and dominance (not in the paper),
            whose head reads what the emotion head reads and whose loss is one minus the concordance
            correlation coefficient. It is added to the sum of the others.
        pretraining_speaker_weight: omega of equation (7).
        ctc_reduction: "mean" divides an utterance's CTC loss by its target length, "sum" does not
            (the literal 1/N of equation (1); tens to hundreds in size, which would drown the
            emotion loss).
        vocab_size: size of the CTC vocabulary.
        pad_token_id: its padding entry, which is the CTC blank.
        speakers: names of the training speakers, the classes of the speaker head.
        emotion_head_trained: set by training; a model that lacks it refuses to predict in the
            pipeline.
        temperature: what the pipeline divides the logits by before the softmax, fitted on
            validation speakers; above 1 it makes the answers less confident.
        abstain_below: probability of the best emotion below which the pipeline flags an answer as
            "unsure", fitted on validation speakers; 0 never.
        weights_digest: SHA-256 of the weights that were saved with this configuration, which
            loading compares; set by saving.
        signals_digest: SHA-256 over the settings of the feature extractor that it was trained with,
            set by training; see `warn_of_other_signals`.

    Raises:
        huggingface_hub.errors.StrictDataclassError: if a field has another type, or if fields
            contradict each other (`validate_architecture`). It is no ValueError.
    """

    model_type = "decomp_ser"
    sub_configs_defaults = {
        "speech_config": SubConfigSpec(
            config_class=AutoConfig, model_type="wav2vec2", optional=True
        )
    }
    # Large or dictionary-valued outputs that evaluation must not gather.
    keys_to_ignore_at_inference = ["losses", "task_losses", "reconstruction", "component_shares"]

    use_speech_encoder: bool = True
    speech_config: dict | PreTrainedConfig | None = None
    frozen_speech_encoder: Literal["none", "convolutions", "all"] = "none"

    components: list[str] | tuple[str, ...] = DECOMPOSED
    single_reads_pitch: bool = False
    num_mel_bins: int = 80
    num_f0_bins: int = 256
    downsampling: int = 8
    conv_kernel_size: int = 5
    conv_stride: int = 1
    conv_channels_per_group: int = 16
    rhythm_conv_layers: int = 1
    rhythm_conv_channels: int = 128
    rhythm_lstm_layers: int = 1
    rhythm_hidden_size: int = 1
    content_conv_layers: int = 3
    content_conv_channels: int = 512
    content_lstm_layers: int = 2
    content_hidden_size: int = 8
    pitch_conv_layers: int = 3
    pitch_conv_channels: int = 256
    pitch_lstm_layers: int = 1
    pitch_hidden_size: int = 32
    timbre_conv_layers: int = 3
    timbre_conv_channels: int = 512
    timbre_lstm_layers: int = 2
    timbre_hidden_size: int = 8
    single_conv_layers: int = 3
    single_conv_channels: int = 512
    single_lstm_layers: int = 2
    single_hidden_size: int = 49
    decoder_layers: int = 3
    decoder_hidden_size: int = 512
    timbre_input: Literal["resampled", "raw"] = "resampled"
    timbre_pooling: Literal["frames", "utterance"] = "frames"
    mel_normalization: Literal["none", "utterance"] = "none"

    resampling_input: bool = True
    resampling_inner: bool = True
    resampling_in_finetuning: bool = True
    resampling_min_length: int = 19
    resampling_max_length: int = 31
    resampling_min_scale: float | int = 0.5
    resampling_max_scale: float | int = 1.5
    pretraining_padding: Literal["masked", "padded192"] = "masked"

    pooling: Literal["mean", "statistics"] = "mean"
    pooled_normalization: Literal["none", "layer"] = "none"
    part_dropout: float | int = 0.0
    head_dropout: float | int = 0.0
    emotion_weight: float | int = 0.45
    ctc_weight: float | int = 0.05
    speaker_weight: float | int = 0.05
    reconstruction_weight: float | int = 0.45
    dimensions_weight: float | int = 0.0
    pretraining_speaker_weight: float | int = 0.1
    ctc_reduction: Literal["mean", "sum"] = "mean"
    vocab_size: int = 32
    pad_token_id: int | None = 0
    speakers: list[str] | tuple[str, ...] = ()
    emotion_head_trained: bool = False
    temperature: float | int = 1.0
    abstain_below: float | int = 0.0
    weights_digest: str | None = None
    signals_digest: str | None = None

    def __post_init__(self, **kwargs):
        if not self.use_speech_encoder:
            self.speech_config = None
        elif self.speech_config is None:
            self.speech_config = {}
        # JSON knows lists only
        self.components = tuple(self.components)
        self.speakers = tuple(self.speakers)
        refuse_if(
            not isinstance(self.id2label, dict | None),
            f"id2label={self.id2label!r}: expected an emotion by its number.",
        )
        label2id: Any = self.label2id
        refuse_if(
            not isinstance(label2id, dict | None),
            f"label2id={label2id!r}: expected a number by its emotion.",
        )
        dtype = self.dtype or kwargs.get("torch_dtype")
        refuse_if(
            isinstance(dtype, str) and dtype not in DTYPES,
            f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}.",
        )
        if self.id2label is None and label2id:
            self.id2label = {index: name for name, index in label2id.items()}
        elif self.id2label is None and "num_labels" not in kwargs:
            self.id2label = dict(enumerate(EMOTIONS))
        if self.id2label is not None and not label2id:
            self.label2id = {name: int(index) for index, name in self.id2label.items()}
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Check what no single field can know.

        Raises:
            ValueError: if the components are unknown, out of order or empty without a speech
                encoder, if the speech encoder is of another family or has an adapter, if a head has
                a weight but not the part it reads, or if a size contradicts another.
        """
        known = [c for c in DECOMPOSED if c in self.components]
        refuse_if(
            list(self.components) not in (known, [SINGLE]),
            f"components={list(self.components)}: expected a subset of {list(DECOMPOSED)} in this "
            f"order, ['{SINGLE}'] for one undivided encoder, or [] for none.",
        )
        refuse_if(
            not self.use_speech_encoder and not self.components,
            "use_speech_encoder=False and components=[] leave no encoder: give at least one.",
        )
        if self.use_speech_encoder:
            self.check_speech_encoder()
        refuse_if(
            self.ctc_weight and not self.use_speech_encoder,
            f"ctc_weight={self.ctc_weight} with use_speech_encoder=False: speech is recognised "
            "from wav2vec2. Set ctc_weight=0.",
        )
        refuse_if(
            self.ctc_weight and self.pad_token_id is None,
            "pad_token_id=None: CTC needs it as its blank, 0 in this vocabulary.",
        )
        refuse_if(
            self.speaker_weight and self.speaker_component is None,
            f"speaker_weight={self.speaker_weight} without the component 'timbre' or '{SINGLE}', "
            "which the speaker head reads. Set speaker_weight=0.",
        )
        refuse_if(
            self.reconstruction_weight and not self.components,
            f"reconstruction_weight={self.reconstruction_weight} with components=[]: the decoder "
            "reads the codes. Set reconstruction_weight=0.",
        )
        self.check_labels()
        self.check_sizes()
        self.check_numbers()

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As in transformers; raises ValueError for a stored configuration that was changed."""
        stored = config_dict.pop("settings_digest", None)
        refuse_if(
            stored not in (None, settings_digest(config_dict)),
            "config.json was changed after saving: it is damaged, or was edited by hand. Set "
            "fields in Python and save again, or remove settings_digest from it to keep the "
            "change.",
        )
        return super().from_dict(config_dict, **kwargs)

    def to_json_string(self, use_diff: bool = True) -> str:
        """As in transformers, with a digest of what is stored."""
        text = super().to_json_string(use_diff)
        if not use_diff:
            return text
        content = json.loads(text)
        encoder = content.get("speech_config") or {}
        # a path of this machine would be published with the model
        if str(encoder.get("_name_or_path", "")).startswith(("/", "~", ".")):
            encoder["_name_or_path"] = ""
        sealed = {**content, "settings_digest": settings_digest(content)}
        return json.dumps(sealed, indent=2, sort_keys=True) + "\n"

    def warn_of_other_signals(self, feature_extractor: Any) -> None:
        """Log a warning where a feature extractor has other settings than that of training, as
        after its file was swapped, or after it was changed in Python, which may be meant.
        """
        if self.signals_digest not in (None, feature_extractor.settings_digest()):
            logger.warning(
                "The feature extractor has other settings than the one that this model was trained "
                "with, so its answers are not those that were measured. Where that is meant, set "
                "model.config.signals_digest = None and save the model; else load the processor "
                "from the model's own folder."
            )

    def check_labels(self):
        """Raise ValueError for emotions that are not told apart by their names."""
        labels: Any = self.id2label or {}
        words = [labels.get(index) for index in range(len(labels))]
        refuse_if(
            not all(isinstance(word, str) and word for word in words)
            or len(set(words)) < len(words),
            f"id2label={labels}: expected the numbers from 0 on, each with a name of its own.",
        )
        refuse_if(
            self.label2id and self.label2id != {word: i for i, word in enumerate(words)},
            f"label2id={self.label2id} does not fit id2label={labels}.",
        )

    def check_sizes(self):
        """Raise ValueError for a size that no network has."""
        for name, value in {**vars(self)}.items():
            if not isinstance(value, int) or isinstance(value, bool):
                continue
            if name.endswith("_layers"):
                check_range(name, value, 1, MOST_LAYERS)
            elif name in COUNTS or name.endswith(("_channels", "_hidden_size")):
                check_range(name, value, 1, MOST_UNITS)
        if self.use_speech_encoder:
            check_speech_sizes(self.speech_config)

    def check_numbers(self):
        """Raise ValueError for a number that is out of range or contradicts another."""
        refuse_if(
            self.downsampling % self.conv_stride,
            f"downsampling={self.downsampling} is no multiple of conv_stride={self.conv_stride}: "
            "the code rate would not divide.",
        )
        for name in ("part_dropout", "head_dropout"):
            value = getattr(self, name)
            refuse_if(not 0 <= value < 1, f"{name}={value}: expected 0 or more, below 1.")
        for name in WEIGHTS:
            value = getattr(self, name)
            refuse_if(not 0 <= value < math.inf, f"{name}={value}: expected a number of 0 or more.")
        omega = self.pretraining_speaker_weight
        refuse_if(not 0 <= omega <= 1, f"pretraining_speaker_weight={omega}: expected 0 to 1.")
        refuse_if(
            self.conv_kernel_size % 2 == 0,
            f"conv_kernel_size={self.conv_kernel_size}: expected an odd number of frames.",
        )
        refuse_if(
            not 0 < self.temperature < float("inf"),
            f"temperature={self.temperature}: expected a positive number.",
        )
        refuse_if(
            not 0 <= self.abstain_below <= 1,
            f"abstain_below={self.abstain_below}: expected a probability, 0 to 1; 0 never "
            "abstains.",
        )
        for name, above, expected in (
            ("length", 1, "2 frames or more"),
            ("scale", 0, "positive numbers"),
        ):
            low, high = (getattr(self, f"resampling_{end}_{name}") for end in ("min", "max"))
            refuse_if(
                not above < low <= high,
                f"resampling_min_{name}={low} and resampling_max_{name}={high}: expected "
                f"{expected}, in this order.",
            )

    def check_speech_encoder(self):
        """Raise ValueError for an encoder that would be run wrongly."""
        model_type = getattr(self.speech_config, "model_type", None)
        refuse_if(
            model_type not in SPEECH_ENCODERS,
            f"speech_config has model_type '{model_type}', expected one of "
            f"{', '.join(SPEECH_ENCODERS)}.",
        )
        refuse_if(
            getattr(self.speech_config, "add_adapter", False),
            "speech_config.add_adapter=True: the adapter changes the frame rate and is not run. "
            "Set it to False.",
        )

    def to_diff_dict(self) -> dict:
        """As in transformers, but always with the labels: the library leaves out two of no name,
        which would come back as the four emotions.
        """
        labels = {"id2label": self.id2label, "label2id": self.label2id}
        return {**super().to_diff_dict(), **labels}

    @property
    def f0_classes(self) -> int:
        """Classes of the one-hot pitch contour: unvoiced and `num_f0_bins` voiced ones."""
        return self.num_f0_bins + 1

    @property
    def speaker_component(self) -> str | None:
        """The component whose codes the speaker head reads: timbre, or the undivided one."""
        return next((c for c in ("timbre", SINGLE) if c in self.components), None)

    def code_size(self, component: str) -> int:
        """Width of a component's code: both directions of its BLSTM."""
        return 2 * getattr(self, f"{component}_hidden_size")


DecompSerConfig.register_for_auto_class()
