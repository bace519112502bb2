"""Made-up turns of a fold, as tensors: what a network of another system learns from."""

import torch

from train_scripts.baselines.turn_tensors import TurnTensors


def tiny_turns(
    num_turns: int,
    *,
    seed: int,
    size: int = 12,
    num_labels: int = 4,
    clear: float = 2.0,
    frames: bool = False,
    first_speaker: int = 0,
) -> TurnTensors:
    """Turns whose vectors, or frames, lean towards their emotion and gender.

    Args:
        num_turns: emotions in turn, genders in turn.
        seed: of the noise.
        size: of a vector.
        num_labels: emotions.
        clear: how far an emotion lies from the others, in standard deviations of the noise.
        frames: sequences of 5 to 12 frames instead of vectors.
        first_speaker: number of the first of three speakers.
    """
    generator = torch.Generator().manual_seed(seed)
    emotions = torch.arange(num_turns) % num_labels
    genders = torch.arange(num_turns) // num_labels % 2
    speakers = first_speaker + torch.arange(num_turns) // num_labels % 3
    directions = torch.zeros(num_turns, size)
    directions[torch.arange(num_turns), emotions] = clear
    directions[:, num_labels] = 2.0 * genders
    if not frames:
        noise = torch.randn(num_turns, size, generator=generator)
        return TurnTensors(emotions, genders, speakers, vectors=directions + noise)
    sequences = [
        direction + 2 * torch.randn(5 + k % 8, size, generator=generator)
        for k, direction in enumerate(directions)
    ]
    return TurnTensors(emotions, genders, speakers, sequences=sequences)
