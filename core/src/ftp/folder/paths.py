"""The names of the files in the folder of a run, and what each is.

    runs/<name>/  run.toml  plugins.lock  run.json  log.jsonl  scores.json  risks.json  data.json
                  inputs.json  began.toml (see `ftp.runs.recipes`)  examples.json  predictions/
                  checkpoints/  model/  report.html  .ftp.json (see `ftp.folder.marker`)
"""

from pathlib import Path

RUNS = Path("runs")
RECIPE, LOCK, FACTS, LOG = "run.toml", "plugins.lock", "run.json", "log.jsonl"
SCORES, RISKS = "scores.json", "risks.json"
DATA, EXAMPLES, PREDICTIONS, INPUTS = "data.json", "examples.json", "predictions", "inputs.json"
CHECKPOINTS, MODEL, ASIDE, REPORT = "checkpoints", "model", "model-unverified", "report.html"
CARD = "README.md"
REPLACED = "model-replaced"
"""What was model/ before, for the moment in which another one takes its name."""
SCRATCH_FILES = ("inputs.safetensors", "logits.safetensors")
"""What the proof of a model writes into its scratch folder."""
TOKENIZER = "tokenizer"
"""Of a network from scratch, where it was trained for the run."""
BEGAN = "began.toml"
"""The recipe that the run began with; see `ftp.runs.recipes`."""
CLAIM = ".lock"
WRITTEN = (RECIPE, BEGAN, LOCK, FACTS, LOG, SCORES, RISKS, DATA, EXAMPLES, INPUTS, REPORT)
"""The files that a run writes into its folder."""
