"""The one row schema that every corpus is read into, and the order of emotion labels."""

from collections.abc import Iterable

from datasets import Audio, Features, Value

EMOTIONS = ("angry", "happy", "sad", "neutral")
"""The paper's four classes (Table 1) in the order of the labels; "excited" counts as happy."""

SAMPLING_RATE = 16000
"""Hz. Every prepared corpus is stored at this rate."""

ROW_FEATURES = Features(
    {
        "id": Value("string"),  # unique within the corpus
        # {"bytes", "path"}; audio_files decodes it
        "audio": Audio(sampling_rate=SAMPLING_RATE, decode=False),
        "emotion": Value("string"),  # the word, never a number
        "speaker": Value("string"),
        "gender": Value("string"),  # "female", "male" or null
        "text": Value("string"),  # null: unknown; "": nothing was said in words
        "corpus": Value("string"),
        "session": Value("string"),
        "dialogue": Value("string"),
        "duration": Value("float64"),  # seconds
    }
)
"""Columns of a corpus; what is unknown is null (the contract of the command line)."""


def label_order(emotions: Iterable[str]) -> list[str]:
    """Order the emotion words of a corpus: the paper's four first, in its order, then the others by
    name.

    The order never depends on the order of rows, so that a label id means the same in every fold.

    Examples:
        >>> label_order({"sad", "disgust", "angry"})
        ['angry', 'sad', 'disgust']
    """
    present = set(emotions)
    return [e for e in EMOTIONS if e in present] + sorted(present - set(EMOTIONS))
