"""M-GRPO in Python: the built-in model trains itself on a few prompts without answers, on one CPU core in seconds."""

from datasets import Dataset

from mgrpo import MGRPOConfig, MGRPOTrainer
from mgrpo.embedded.task import chains, extract_answer
from mgrpo.models.load import load_model

model, tokenizer = load_model("embedded")  # any causal language model of transformers and its tokenizer will do
prompts = Dataset.from_list([{"prompt": problem.prompt} for problem in chains(32, seed=0, split="train")])

trainer = MGRPOTrainer(
    model,
    processing_class=tokenizer,
    args=MGRPOConfig(  # its defaults are the paper's setting, for a 4B model on GPUs
        "runs/in-python",
        label_source="momentum",  # lagged voters, which we recommend
        momentum_temperature=0.5,
        iqr_multiplier=None,
        num_generations=6,
        num_momentum_generations=2,
        per_device_train_batch_size=24,
        gradient_accumulation_steps=1,
        max_completion_length=14,
        max_steps=3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,  # without a GPU
        bf16=False,
    ),
    train_dataset=prompts,  # a column `prompt`; an `answer` column is only measured, never trained on
    answer_fn=extract_answer,  # reads the answer out of a completion's text, or None
    equivalence="text",  # or "math": 1/2 = 0.5 = \frac12
)
trainer.train()
trainer.save_model("runs/in-python/final")
