"""Makes the files beside it, with torch 2.11.0 and safetensors: `python make.py`. `old_form.bin` is in the form that
torch before 1.6 wrote, which later versions still can write."""

import json
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

here = Path(__file__).parent
matrix = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 7
base = torch.arange(40, dtype=torch.float32)
tensors = OrderedDict(
    row_major=matrix,
    column_major=matrix.t().contiguous().t(),  # as checkpoints that came from TensorFlow have them
    half=matrix.half(),
    bfloat=matrix.bfloat16(),
    ids=torch.tensor([3, -100, 7]),
    part=base[8:20].view(3, 4)[:, 1:],
    same_storage=base[:5],
    cube=base[:24].view(2, 3, 4).permute(2, 0, 1),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 4),
    parameter=torch.nn.Parameter(matrix[0].clone()),
)
tensors._metadata = OrderedDict({"": {"version": 1}})
torch.save(tensors, here / "zip_form.bin")
torch.save(tensors, here / "zip_form_protocol_4.bin", pickle_protocol=4)
torch.save(tensors, here / "old_form.bin", _use_new_zipfile_serialization=False)
save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, here / "expected.safetensors")
# What is refused.
torch.save(torch.nn.Linear(2, 2), here / "module.bin")
torch.save({"step": 7, "weight": matrix}, here / "training_state.bin")

# A T5 in two files, one of each form, in three types.
config = dict(model_type="t5", d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, vocab_size=20)
torch.manual_seed(0)
weights = {"shared.weight": torch.randn(20, 8)}
for stack in ["encoder", "decoder"]:
    attentions = ["0.SelfAttention"] + (["1.EncDecAttention"] if stack == "decoder" else [])
    block = f"{stack}.block.0.layer"
    for attention in attentions:
        for name in "qkvo":
            weights[f"{block}.{attention}.{name}.weight"] = torch.randn(8, 8).t()
    weights[f"{block}.0.SelfAttention.relative_attention_bias.weight"] = torch.randn(32, 2).half()
    last = len(attentions)
    weights[f"{block}.{last}.DenseReluDense.wi.weight"] = torch.randn(12, 8).bfloat16()
    weights[f"{block}.{last}.DenseReluDense.wo.weight"] = torch.randn(8, 12)
    for layer in range(last + 1):
        weights[f"{block}.{layer}.layer_norm.weight"] = torch.ones(8)
    weights[f"{stack}.final_layer_norm.weight"] = torch.ones(8)
folder = here / "t5_sharded"
names = list(weights)
parts = [names[: len(names) // 2], names[len(names) // 2 :]]
index = {}
for i, part in enumerate(parts):
    file = f"pytorch_model-{i + 1:05}-of-00002.bin"
    torch.save({n: weights[n] for n in part}, folder / file, _use_new_zipfile_serialization=i == 0)
    index |= {n: file for n in part}
(folder / "config.json").write_text(json.dumps(config) + "\n")
(folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}) + "\n")
save_file({k: v.contiguous() for k, v in weights.items()}, here / "t5_expected.safetensors")

# An adapter as PEFT saves it without safetensors.
(here / "peft_bin").mkdir(exist_ok=True)
torch.save({"prompt_embeddings": torch.arange(12, dtype=torch.float32).reshape(4, 3)}, here / "peft_bin/adapter_model.bin")
adapter = dict(peft_type="PROMPT_TUNING", task_type="SEQ_2_SEQ_LM", num_virtual_tokens=2, token_dim=3)
(here / "peft_bin/adapter_config.json").write_text(json.dumps(adapter) + "\n")
