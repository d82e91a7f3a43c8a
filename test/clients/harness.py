"""The zero-shot tasks by lm-evaluation-harness itself: its prompts, its Hugging Face model, its metrics. Called by
harness.test.ts; prints one JSON object.

    harness.py REQUEST.json

REQUEST: {"models": [{"name", "folder", "addBos": true | false | null (what the harness does by itself)}],
"tasks": {name of the task in the harness: FILE.jsonl in the fields of the data set}}. Answer, by name of the model and
of the task: acc and acc_norm (null where it has none) with standard errors, and the log-likelihood of every choice of
every question.

A HellaSwag row may have "ctx" in place of activity_label, ctx_a and ctx_b; the harness has no prompt for it, so it gets
what its own clean-up makes of the text.
"""

import json
import sys
from pathlib import Path


def hellaswag(dataset):
    from lm_eval.tasks.hellaswag import utils

    if "ctx" not in dataset.column_names or "ctx_a" in dataset.column_names:
        return utils.process_docs(dataset)
    return dataset.map(
        lambda doc: {
            "query": utils.preprocess(doc["ctx"]),
            "choices": [utils.preprocess(ending) for ending in doc["endings"]],
            "gold": int(doc["label"]),
        }
    )


def local_task(name, rows):
    """The task as the harness describes it, its data set replaced by a local file."""
    import datasets
    from lm_eval import tasks
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    folders = {
        "piqa": "piqa/piqa.yaml",
        "arc_easy": "arc/arc_easy.yaml",
        "arc_challenge": "arc/arc_challenge.yaml",
        "hellaswag": "hellaswag/hellaswag.yaml",
        "winogrande": "winogrande/default.yaml",
        "boolq": "super_glue/boolq/default.yaml",
    }
    config = load_yaml(Path(tasks.__file__).parent / folders[name], resolve_func=True)
    docs = [json.loads(line) for line in Path(rows).read_text().splitlines() if line.strip()]
    data = datasets.DatasetDict({"validation": datasets.Dataset.from_list(docs)})
    config |= {"training_split": None, "validation_split": "validation", "test_split": None}
    config["custom_dataset"] = lambda **_: data
    if name == "hellaswag":
        config["process_docs"] = hellaswag
    return ConfigurableTask(config=config)


def evaluate(model, tasks):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerFast

    found = lm_eval.simple_evaluate(
        model=HFLM(
            pretrained=model["folder"],
            # tokenizer.json as it is: for class LlamaTokenizerFast, transformers 5 puts another normalizer in its place,
            # which begins a text that begins with a blank with one token less.
            tokenizer=PreTrainedTokenizerFast.from_pretrained(model["folder"]),
            device="cpu",
            dtype="float32",
            batch_size=4,
            add_bos_token=model["addBos"],
        ),
        tasks=[local_task(name, rows) for name, rows in tasks.items()],
        num_fewshot=0,
        bootstrap_iters=1,
        log_samples=True,
    )
    answer = {}
    for name, scores in found["results"].items():
        samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
        metric = lambda metric: (
            {"value": scores[f"{metric},none"], "standardError": scores[f"{metric}_stderr,none"]}
            if f"{metric},none" in scores
            else None
        )
        answer[name] = {
            "acc": metric("acc"),
            "accNorm": metric("acc_norm"),
            "logLikelihoods": [[float(choice[0]) for choice in sample["filtered_resps"]] for sample in samples],
        }
    return answer


def main(request_file):
    import torch
    import transformers
    from importlib.metadata import version

    torch.set_num_threads(1)
    request = json.loads(Path(request_file).read_text())
    models = {model["name"]: evaluate(model, request["tasks"]) for model in request["models"]}
    versions = f"lm_eval {version('lm_eval')}, transformers {transformers.__version__}, torch {torch.__version__}"
    print(json.dumps({"versions": versions, "models": models}))


main(sys.argv[1])
