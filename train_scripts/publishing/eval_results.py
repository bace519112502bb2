"""Results of a run in the form `.eval_results/*.yaml`, from which the Hub fills the leaderboards of
data sets; the `model-index` of the card, which it replaces, holds all of them.
"""

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from processing.corpora.registry import training_corpora
from train_scripts.runs.record import RunRecord

EVAL_RESULTS = ".eval_results/decomp-ser.yaml"
SHOWN = {
    "weighted_accuracy": "WA, correct / all",
    "unweighted_average_recall": "UAR, mean of the emotions' recalls",
}
"""Field of `Metrics` and what it is."""


def eval_results_file(record: RunRecord, repo_id: str) -> str | None:
    """Content of the file; None where the corpus that was scored is no data set of the Hub.

    Args:
        record: of the run.
        repo_id: of the repository, which the entries name as their source.
    """
    corpora = list(training_corpora(record.corpus).values())
    if len(corpora) != 1 or corpora[0].hub_id is None:
        return None
    protocol = record.protocol
    notes = [
        f"protocol {protocol.name} version {protocol.version}",
        f"hash {protocol.hash}" if protocol.hash else "",
        f"fold {record.fold}" if record.fold else "",
        f"{record.metrics.num_turns} turns",
        "its speakers are in the training set: a leaking protocol" if protocol.leaks else "",
    ]
    entries = [
        EvalResultEntry(
            dataset_id=corpora[0].hub_id,
            task_id=f"{protocol.name}_{name}",
            value=getattr(record.metrics, name),
            source_url=f"https://huggingface.co/{repo_id}",
            source_name="Model card",
            notes="; ".join([title, *filter(None, notes)]),
        )
        for name, title in SHOWN.items()
        if getattr(record.metrics, name) is not None
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
