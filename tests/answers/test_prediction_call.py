import pytest
from support.tiny_pipeline import encode, save_tiny_model, voice

from processing.errors import InputError
from processing.folder_locks import sole_writer
from train_scripts.answers.prediction_call import predict


@pytest.mark.parametrize("name", ["answers", "answers.csv"])
def test_the_second_of_two_calls_with_one_output_is_told(tmp_path, name):
    save_tiny_model(tmp_path / "model")
    clip = tmp_path / "clip.wav"
    clip.write_bytes(encode(voice(1.0)))
    output = tmp_path / name
    with sole_writer(output), pytest.raises(InputError, match="another process .* is writing"):
        predict(str(tmp_path / "model"), [str(clip)], output=output)
    assert not output.exists()
    predict(str(tmp_path / "model"), [str(clip)], output=output)  # when the first has ended
    assert output.exists() and not output.with_name(f"{name}.writing").exists()
