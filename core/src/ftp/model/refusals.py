"""What a checkpoint is refused for, in words: a folder that is no model, weights that nobody can read, a class that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ftp.errors import Problem, UserError
from ftp.model.source import Source

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
                   "tekken.json", "vocab.model", "tiktoken.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_folder(source: Source, trust_remote_code: bool = False) -> None:
    """Raise `UserError` with everything that is missing in a folder: configuration, safetensors weights, tokenizer."""
    folder = source.folder
    if folder is None:
        return
    problems: list[Problem] = []
    if (folder / "adapter_config.json").exists():
        raise UserError(f"--model {source.name}: this is an adapter, not a whole model",
                        "merge it into its base first, then name the merged folder",
                        f"ftp merge {folder} --out {folder}-merged")
    if not (folder / "config.json").is_file():
        problems.append(Problem(f"--model {source.name}: {folder} has no config.json",
                                "a model is a folder with config.json, model.safetensors and its tokenizer"))
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file for pattern in PICKLES for file in folder.glob(pattern) if file.name != "training_args.bin")
        if pickles:
            problems.append(Problem(f"--model {source.name}: its weights are pickled ({pickles[0].name}), which can run code; "
                                    "only safetensors are loaded", "convert them if you trust their origin",
                                    conversion(pickles[0])))
        else:
            problems.append(Problem(f"--model {source.name}: {folder} has no weights (*.safetensors)"))
    if not trust_remote_code and not any((folder / name).exists() for name in TOKENIZER_FILES):
        problems.append(Problem(f"--model {source.name}: {folder} has no tokenizer",
                                "copy tokenizer.json and tokenizer_config.json of the model it was made from into it"))
    if problems:
        raise UserError(problems)


def conversion(pickle: Path) -> str:
    """A command that writes a pickled state dict as safetensors beside it, without running code from the file."""
    target = pickle.with_name("model.safetensors")
    return ("python -c \"import torch, safetensors.torch as s; "
            f"w = torch.load(r'{pickle}', map_location='cpu', weights_only=True); "
            f"s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, r'{target}', metadata={{'format': 'pt'}})\"")


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn what transformers raises over a user's model into a `UserError`."""
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except SafetensorError as error:
        raise UserError(f"--model {source.name}: the weights cannot be read: {first_line(error)}",
                        "the file is incomplete or damaged: copy it again") from error
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        text = str(error)
        if "trust_remote_code" in text:
            raise UserError(f"--model {source.name}: it needs code of its own to run, which was not loaded",
                            "read that code, and if you trust it:", "add --trust-remote-code") from error
        if not source.local and ("safetensors" in text or "use_safetensors" in text):
            raise UserError(f"--model {source.name}: its weights are not safetensors on the hub, and pickled ones can run code",
                            "download it, convert it (see --model FOLDER), or take a revision that has safetensors") from error
        raise UserError(f"--model {source.name}: it cannot be loaded: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """An error as one line of text."""
    lines = [line.strip() for line in str(error).strip().split("\n") if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]
