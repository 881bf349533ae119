"""What PEFT itself does; started by the tests in `peft_python.rs`.

`load MODEL BATCH ADAPTER…`: logits, loss and greedy ids of each adapter on a batch, into its folder.
`save MODEL DIR`: adapters in all forms in which PEFT saves them, each with the prompt that it uses."""

import sys
from pathlib import Path

import torch
from peft import PeftModel, PromptTuningConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import T5ForConditionalGeneration

what, folder, *paths = sys.argv[1:]
if what == "load":
    given, *adapters = paths
    batch = load_file(given)
    for adapter in adapters:
        model = T5ForConditionalGeneration.from_pretrained(folder)
        model = PeftModel.from_pretrained(model, adapter).eval()
        with torch.no_grad():
            out = model(**batch)
            ids = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=6,
                do_sample=False,
                num_beams=1,
            )
        found = {"logits": out.logits.contiguous(), "loss": out.loss.view(1), "greedy_ids": ids.contiguous()}
        save_file(found, Path(adapter) / "out.safetensors")
else:
    for submodules in [1, None]:
        for safe in [True, False]:
            config = PromptTuningConfig(
                task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=5, num_transformer_submodules=submodules
            )
            torch.manual_seed(7)
            tuned = get_peft_model(T5ForConditionalGeneration.from_pretrained(folder), config)
            out = Path(paths[0]) / f"{submodules}-{safe}"
            tuned.save_pretrained(out, safe_serialization=safe)
            prompt = tuned.get_prompt(batch_size=1)[0, :5].detach().contiguous()
            save_file({"prompt": prompt}, out / "expected.safetensors")
