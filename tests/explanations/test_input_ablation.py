import pytest
import torch
from support.tiny_networks import VARIANTS, random_batch, row_of, tiny_classifier
from torch.testing import assert_close

from modeling_decomp_ser.component_shares import (
    PARTS,
    chance_deletion_curve,
    deletion_curve,
    explain_prediction,
    part_names,
)
from train_scripts.explanations.input_ablation import (
    ABLATIONS,
    ablate,
    ablated_features,
    ablated_shares,
)


def unlabelled(lengths, **options):
    return random_batch(lengths, labelled=False, **options)


def parts_of(model, features) -> dict[str, torch.Tensor]:
    return dict(zip(part_names(model.config), features.split(model.part_sizes, -1), strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_shares_and_base_sum_to_the_logit_of_the_whole_utterance(variant):
    model, batch = tiny_classifier(variant).eval(), unlabelled([20000, 9000])
    shares = ablated_shares(model, batch)
    with torch.no_grad():
        assert_close(shares.sum(1), model(**batch).logits, atol=1e-5, rtol=1e-5)
    missing = [p for p in PARTS if p not in part_names(model.config)]
    assert not shares[:, [PARTS.index(p) for p in missing]].any()


def test_the_base_is_the_answer_of_each_encoder_to_its_ablated_input():
    # each encoder is asked through the whole model, fed with what only it should have heard
    model, batch = tiny_classifier().eval(), unlabelled([20000])
    mel, log_f0 = batch["mel"], batch["log_f0"]
    mean = mel.mean(1, keepdim=True)
    heard = {
        "wav2vec2": {"input_values": torch.zeros(1, 20000)},
        "rhythm": {"mel": mean.expand_as(mel)},
        "content": {"mel": torch.zeros_like(mel)},
        "pitch": {"log_f0": torch.full_like(log_f0, 0.5)},
        "timbre": {"mel": mel.mean(2, keepdim=True).expand_as(mel)},
    }
    found = parts_of(model, ablated_features(model, batch))
    for part, changed in heard.items():
        with torch.no_grad():
            answer = model(**{**batch, **changed}, output_pooled_features=True).pooled_features
        assert_close(found[part], parts_of(model, answer)[part], atol=1e-6, rtol=1e-5)


def test_each_ablation_takes_its_factor_and_leaves_the_rest():
    generator = torch.Generator().manual_seed(0)
    mel = 0.3 + 0.4 * torch.rand(1, 50, 80, generator=generator)
    log_f0, lengths = torch.rand(1, 50, generator=generator), torch.tensor([50])
    steady, _ = ablate("rhythm", mel, log_f0, lengths)
    assert steady.std(1).max() < 1e-6  # nothing happens in time
    assert_close(steady.mean(1), mel.mean(1))  # the same voice
    flat, _ = ablate("timbre", mel, log_f0, lengths)
    assert flat.std(2).max() < 1e-6  # no band is stronger than another
    assert_close(flat.mean(2), mel.mean(2))  # as loud at every time
    same_mel, level = ablate("pitch", mel, log_f0, lengths)
    assert same_mel.equal(mel) and level.unique().tolist() == [0.5]
    for part in ("content", "single"):
        silent, same_f0 = ablate(part, mel, log_f0, lengths)
        assert not silent.any() and same_f0.equal(log_f0)


def test_every_part_of_every_variant_has_a_described_ablation():
    known = {"wav2vec2"}.union(*(v["components"] for v in VARIANTS.values()))
    assert set(ABLATIONS) == known


def test_ablation_does_not_depend_on_batch_mates_and_padding():
    model = tiny_classifier().eval()
    batch = unlabelled([20000, 9000, 400], garbage=7.0)
    together = ablated_shares(model, batch)
    for row in range(3):
        alone = ablated_shares(model, row_of(batch, row))
        assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4)


def planted_model(part: str, **fields):
    """A model whose emotion head reads one part alone."""
    model = tiny_classifier(**fields).eval()
    names = part_names(model.config)
    with torch.no_grad():
        for name, weight in zip(
            names, model.emotion_head.weight.split(model.part_sizes, dim=1), strict=True
        ):
            weight.mul_(5.0 if name == part else 0.0)
    return model


@pytest.mark.parametrize("normalization", ["none", "utterance"])
@pytest.mark.parametrize("part", PARTS)
def test_deleting_the_one_part_that_a_planted_model_hears_ends_its_answer_at_once(
    part, normalization
):
    batch = unlabelled([20000, 12000])
    colour, beat = torch.linspace(1, 0.2, 80), torch.arange(79)[:, None] % 12 < 6
    batch["mel"] = batch["mel"] * colour * beat
    model = planted_model(part, mel_normalization=normalization)
    found = explain_prediction(ablated_shares(model, batch))
    heard = torch.tensor([name == part for name in PARTS])
    assert (found.probability[:, ~heard].abs() < 1e-6).all()
    assert (found.probability[:, heard].abs() > 1e-4).all()
    curve = deletion_curve(found.subset_probability, found.probability.abs())
    assert_close(curve[:, 1:], found.base_probability[:, None].expand(-1, 5), atol=1e-6, rtol=0)
    chance = chance_deletion_curve(found.subset_probability)
    assert ((chance - curve).mean(1) * found.probability.sum(1).sign() > 3e-5).all()


def test_mean_replacement_finds_an_order_that_holds_for_ablated_inputs_too():
    # attribution and test of faithfulness by two different replacements
    model = planted_model("pitch")
    with torch.no_grad():
        batch = unlabelled([16000] * 8)
        model.pooled_mean.copy_(model(**batch, output_pooled_features=True).pooled_features.mean(0))
        cheap = explain_prediction(model(**batch, output_component_shares=True).component_shares)
    ablated = explain_prediction(ablated_shares(model, batch))
    assert cheap.probability.abs().argmax(1).tolist() == [PARTS.index("pitch")] * 8
    ranked = deletion_curve(ablated.subset_probability, cheap.probability.abs())
    assert_close(ranked[:, 1], ablated.base_probability, atol=1e-5, rtol=0)
