"""What an installation takes on the disk, each in a fresh environment, and whether it answers.

    python tests/benchmarks/installation.py [--routes cpu plain] [--cpu-torch WORDS]
        [--without-extension] [--output JSON]

`plain` is `pip install .`; `cpu` installs torch and torchaudio without CUDA before, by the words
that pip is given (default: from PyTorch's own index). In each environment a clip is then answered
by a small network with random weights. Sizes are those of the environment's files, in 10**6 bytes;
what the results file holds of another route is kept.

Where PyTorch's index cannot be reached, the only torchaudio is that with CUDA, which does not load
beside a torch without. --without-extension then takes its compiled parts away: 8 MB of which
no answer needs any.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CPU_TORCH = "--index-url https://download.pytorch.org/whl/cpu torch torchaudio"
VERSIONS = "import torch, torchaudio; print(torch.__version__, torchaudio.__version__)"


def megabytes(folder: Path) -> float:
    """Of the files of a folder, each once, without what is linked from elsewhere."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_blocks * 512 for path in files) / 1e6


def save_example(folder: Path) -> None:
    """A model and a clip, made in this environment."""
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    from support.tiny_pipeline import encode, save_tiny_model, voice

    from processing import DecompSerFeatureExtractor

    model, processor = save_tiny_model(folder / "model")
    processor.feature_extractor = DecompSerFeatureExtractor()  # with its own pitch tracker
    processor.save_pretrained(folder / "model")
    (folder / "clip.wav").write_bytes(encode(voice(2.0)))


def take_extension_away(environment: Path) -> None:
    """Remove the compiled parts of torchaudio."""
    for path in environment.glob("lib/python*/site-packages/torchaudio/lib/*.so"):
        path.unlink()


def install(route: str, cpu_torch: str, example: Path, without_extension: bool) -> dict[str, Any]:
    """Install into a fresh environment, answer the clip, and measure."""
    with tempfile.TemporaryDirectory() as temporary:
        venv.create(temporary, with_pip=True)
        programs = Path(temporary) / "bin"
        pip = [programs / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        before = megabytes(Path(temporary))
        if route == "cpu":
            subprocess.run([*pip, *cpu_torch.split()], check=True)
        subprocess.run([*pip, str(REPOSITORY)], check=True)
        if route == "cpu" and without_extension:
            take_extension_away(Path(temporary))
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            "HF_HUB_OFFLINE": "1",
        }
        command = [programs / "decomp-ser", "predict", example / "model", example / "clip.wav"]
        said = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
        assert json.loads(said)[0]["emotion"] is not None
        found = subprocess.run(
            [programs / "python", "-c", VERSIONS], check=True, capture_output=True
        ).stdout
        torch, torchaudio = found.decode().split()
        size = megabytes(Path(temporary)) - before
    extension = {"without_extension": without_extension} if route == "cpu" else {}
    return {"megabytes": round(size), "torch": torch, "torchaudio": torchaudio, **extension}


def main() -> None:
    """Install, measure, write and state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--routes", nargs="+", choices=("plain", "cpu"), default=["cpu", "plain"])
    parser.add_argument("--cpu-torch", default=CPU_TORCH, help="Words for pip install.")
    parser.add_argument("--without-extension", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    output = arguments.output
    result = json.loads(output.read_text()) if output and output.exists() else {"routes": {}}
    with tempfile.TemporaryDirectory() as temporary:
        save_example(Path(temporary))
        from train_scripts.reports.pages import render
        from train_scripts.runs.record import git_commit, write_json

        for route in arguments.routes:
            result["routes"][route] = install(
                route, arguments.cpu_torch, Path(temporary), arguments.without_extension
            )
            result |= {"python": sys.version.split()[0], "commit": git_commit()}
            if output is not None:
                write_json(output, result, indent=1)
    print(render("installation", result=result).rstrip())


if __name__ == "__main__":
    main()
