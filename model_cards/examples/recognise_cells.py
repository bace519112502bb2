"""Recognise the emotion of a recording, cell by cell: in a notebook of Colab, or as a script.

Each `# %%` begins a cell. In Colab, paste one after the other, or convert the file with `jupytext
--to notebook`. A GPU is used where there is one and is not needed.
"""

# %% [markdown]
# # Emotion from decomposed speech
#
# **In the European Union it is prohibited to infer the emotions of people at their workplace or in
# education**, except for medical or safety reasons (AI Act, Article 5(1)(f)). Record others only if
# they agree, and decide nothing about anybody by the answer.

# %%
# In Colab torch is there already; take the "!" line without its "#".
# !pip install --quiet "transformers>=5.20,<6" soundfile soxr scipy
import os
from typing import Any

import matplotlib.pyplot as plt
import soundfile
from transformers import pipeline

# %%
MODEL = os.environ.get("DECOMP_SER_MODEL", "NAMESPACE/NAME")  # @param {type:"string"}
RECORDING = os.environ.get("DECOMP_SER_RECORDING", "clip.wav")  # @param {type:"string"}

# %%
# The code of the model comes with it: read it, and pin `revision`, before you trust it.
recognise: Any = pipeline("audio-classification", model=MODEL, trust_remote_code=True)
answer = recognise(RECORDING, top_k=None, return_timeline=True, return_flags=True, explain=True)
for score in answer["scores"]:
    print(f"{score['label']:10} {score['score']:.3f}")
print("reasons not to trust it:", ", ".join(answer["flags"]) or "none that the signal gives")

# %%
# What each part of the model adds to the logit of the answer.
best = answer["scores"][0]["label"]
shares = {part: share for part, share in answer["shares"][best].items() if part != "bias"}
plt.figure(figsize=(6, 2.5))
plt.barh(list(shares), list(shares.values()))
plt.xlabel(f"share of the logit of “{best}”")
plt.tight_layout()
plt.show()

# %%
# The answer over time, window by window.
middles = [(window["start"] + window["end"]) / 2 for window in answer["timeline"]]
rows = [{s["label"]: s["score"] for s in window["scores"]} for window in answer["timeline"]]
plt.figure(figsize=(6, 2.5))
for label in rows[0]:
    plt.plot(middles, [row[label] for row in rows], marker="o", label=label)
plt.xlabel("seconds")
plt.ylabel("probability")
plt.ylim(0, 1)
plt.legend()
plt.tight_layout()
plt.show()

# %%
# Codes as features for other programs, (frames, features) of each part.
samples, rate = soundfile.read(RECORDING, dtype="float32")
[codes] = recognise.model.encode(samples, sampling_rate=rate)
print({part: code.frames.shape for part, code in codes.parts.items()})
